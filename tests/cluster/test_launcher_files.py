"""`ray up`'s files: valid to Ray itself, closed, bounded, with the same software on every node."""

import re
import subprocess
from typing import Any

import pytest

from tests.cluster.files import CLUSTER, LAUNCHED, load, prepared

pytestmark = pytest.mark.parametrize("name", LAUNCHED)


def commands(config: dict[str, Any], kind: str) -> str:
    return "\n".join(config[f"{kind}_start_ray_commands"])


def test_ray_accepts_the_file(name: str) -> None:
    prepared(load(name))


def test_ray_refuses_a_key_that_it_does_not_know(name: str) -> None:
    from jsonschema import ValidationError

    with pytest.raises(ValidationError, match="max_wrokers"):
        prepared(load(name) | {"max_wrokers": 1})


def test_nobody_gets_in_without_the_token(name: str) -> None:
    config = prepared(load(name))
    for kind in ("head", "worker"):
        starts = [line for line in config[f"{kind}_start_ray_commands"] if "ray start" in line]
        assert len(starts) == 1
        before, _, after = starts[0].partition("ray start")
        assert "export RAY_AUTH_MODE=token;" in before
        assert "0.0.0.0" not in after
    assert "--dashboard-host=127.0.0.1" in commands(config, "head")
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600" in (CLUSTER / "setup_node.sh").read_text()


def test_an_autoscaler_that_knows_its_head_is_chosen(name: str) -> None:
    """Of Ray 2.60 v2 knows none of provider local, seen by tests/faults/test_hosts.py."""
    assert ("export RAY_enable_autoscaler_v2=0;" in commands(load(name), "head")) == (name == "onprem")


def test_nothing_is_open_to_the_world(name: str) -> None:
    assert not re.search(r"0\.0\.0\.0/0|::/0", (CLUSTER / f"{name}.yaml").read_text())


def test_spending_is_bounded(name: str) -> None:
    config = prepared(load(name))
    assert 1 <= config["max_workers"] <= 8
    assert 0 < config["idle_timeout_minutes"] <= 10
    types, head = config["available_node_types"], config["head_node_type"]
    for kind, node in types.items():
        if name != "onprem":
            assert node["max_workers"] <= (0 if kind == head else config["max_workers"])
            assert node["min_workers"] == 0
            assert load(name)["metadata"]["price_per_hour"][kind] > 0
    if name != "onprem":
        assert config["provider"]["cache_stopped_nodes"] is False
        assert sum("GPU" in node["resources"] for node in types.values()) >= 2, "no type to fall back on"


def test_the_head_is_kept_and_workers_are_spot(name: str) -> None:
    if name == "onprem":
        pytest.skip("nothing is bought there")
    config = load(name)
    for kind, node in config["available_node_types"].items():
        settings = node["node_config"]
        market = settings.get("InstanceMarketOptions", settings.get("scheduling", {}))
        assert ("spot" in str(market).lower()) == (kind != config["head_node_type"])


def test_every_node_installs_the_locked_set_and_shares_a_folder(name: str) -> None:
    config = prepared(load(name))
    for kind in ("head", "worker"):
        setup = [line for line in config[f"{kind}_setup_commands"] if "setup_node.sh" in line]
        assert len(setup) == 1
        assert re.search(r"setup_node\.sh \S+$", setup[0])
    script = (CLUSTER / "setup_node.sh").read_text()
    assert "cluster/requirements.txt" in script
    assert "/mnt/dmlray" in script


def test_the_header_says_what_it_costs_and_how_to_use_it(name: str) -> None:
    text = (CLUSTER / f"{name}.yaml").read_text()
    header = text[: text.index("\ncluster_name")]
    assert "Costs an hour" in header
    assert f"ray up cluster/{name}.yaml" in header
    assert "dmlray search --address auto" in header


def test_the_share_speaks_what_nodes_mount(name: str) -> None:
    """Filestore's basic tiers have NFSv3 alone; EFS has 4.1 alone."""
    assert "-t nfs4 -o nfsvers=4.1," in (CLUSTER / "setup_node.sh").read_text()
    if name == "gcp":
        (created,) = re.findall(r"gcloud filestore instances create (.*)", (CLUSTER / "gcp.yaml").read_text())
        assert "--tier=ZONAL --protocol=NFS_V4_1" in created


def test_the_node_script_is_valid_shell(name: str) -> None:
    assert subprocess.run(["bash", "-n", CLUSTER / "setup_node.sh"], check=False).returncode == 0
