"""Ray's own autoscaler, with nodes that are raylets of this machine: a search begins where there is no worker yet."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dmlray import cluster
from tests.cluster.files import CLUSTER
from tests.cluster.heads import environment, head
from tests.data.videos import FRAME, random_block, write_dataset

SPACE = Path(__file__).parents[2] / "search_spaces" / "smoke.yaml"
HEAD_ID = "f" * 51 + "00000"
PROVIDER = {
    "type": "external",
    "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
    "launch_multiple": True,
    "head_node_id": HEAD_ID,
}


def launched() -> dict[str, Any]:
    """The file that `ray up` would have left on the head."""
    worker = {"CPU": 1, "object_store_memory": 80_000_000}
    kinds = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "min_workers": 0, "max_workers": 0},
        "cpu": {"resources": worker, "node_config": {}, "min_workers": 0, "max_workers": 2},
    }
    steps = ("setup_commands", "head_setup_commands", "worker_setup_commands", "initialization_commands")
    starts = ("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files")
    return {
        "cluster_name": "fake",
        "max_workers": 2,
        "idle_timeout_minutes": 5,
        "upscaling_speed": 1.0,
        "provider": PROVIDER,
        "available_node_types": kinds,
        "head_node_type": "ray.head.default",
        "auth": {},
        "docker": {},
        "file_mounts": {},
        **{key: [] for key in (*steps, *starts)},
    }


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)  # on a busy machine it was seen to take 240 s
def test_a_search_starts_the_nodes_that_it_needs(short: Path) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 6379)) == 0:
            pytest.skip("port 6379, the one of `ray up`, is taken here")
    (short / ".ray").mkdir()
    (short / ".ray" / "auth_token").write_text("0123456789abcdef" * 2)
    config = short / "ray_bootstrap_config.yaml"
    config.write_text(json.dumps(launched()))
    for split, videos in (("train", 40), ("validation", 20)):
        write_dataset(short / "data", FRAME, [[random_block(FRAME, videos)]], split)
    node = {"RAY_CLOUD_INSTANCE_ID": HEAD_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID}
    fake = {"RAY_FAKE_CLUSTER": "1", "RAY_enable_autoscaler_v2": "1", "RAY_NODE_TYPE_NAME": "ray.head.default"}
    search = [sys.executable, "-m", "dmlray", "search", "--address", "127.0.0.1:6379", "--data", str(short / "data")]
    search += ["--space", str(SPACE), "--trials", "2", "--set", "space.epochs=1", "--name", "grown"]
    with head(short, "token", "--num-cpus=0", f"--autoscaling-config={config}", port=6379, **node, **fake):
        done = subprocess.run(
            [*search, "--results", str(short / "results")],
            env=environment(short) | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "ended by its 2 trials: 2 done" in done.stderr


def test_the_head_plans_with_the_nodes_that_may_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_LAUNCHED_AS", CLUSTER / "gpu.yaml")
    monkeypatch.setattr(cluster, "_is_head_of_launched", lambda: True)
    monkeypatch.setattr(cluster, "node_resources", lambda: [{"CPU": 4.0}])
    assert cluster.nodes_to_use(gpus=1) == [{"CPU": 0.0, "GPU": 0.0}, *[{"CPU": 8.0, "GPU": 1.0}] * 8]
    monkeypatch.setattr(cluster, "_LAUNCHED_AS", CLUSTER / "onprem.yaml")
    assert cluster.nodes_to_use(gpus=1) == [{"CPU": 4.0}]
    monkeypatch.setattr(cluster, "_is_head_of_launched", lambda: False)
    monkeypatch.setattr(cluster, "_LAUNCHED_AS", CLUSTER / "gpu.yaml")
    assert cluster.nodes_to_use(gpus=1) == [{"CPU": 4.0}]
