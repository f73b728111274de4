"""What a cluster file lets run."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmlray.cluster_file import ClusterShape, NodeType, load_cluster_file
from dmlray.errors import ConfigError, MissingInputError
from tests.cluster.files import CLUSTER

FILE = """
max_workers: 3
provider: {type: aws}
head_node_type: head
available_node_types:
  head: {resources: {CPU: 2}}
  big: {resources: {CPU: 8, GPU: 1}, max_workers: 2}
  plain: {resources: {CPU: 16}}
metadata: {price_per_hour: {big: 1.5}}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    return path


def test_types_counts_and_prices(tmp_path: Path) -> None:
    shape = load_cluster_file(written(tmp_path, FILE))
    assert shape.head == NodeType("head", {"CPU": 2.0, "GPU": 0.0}, 3)
    assert shape.workers == (
        NodeType("big", {"CPU": 8.0, "GPU": 1.0}, 2, 1.5),
        NodeType("plain", {"CPU": 16.0, "GPU": 0.0}, 3),
    )


def test_trials_with_gpus_get_nodes_with_gpus_and_others_do_not(tmp_path: Path) -> None:
    shape = load_cluster_file(written(tmp_path, FILE))
    assert [node.name for node in shape.nodes(gpus=1)] == ["head", "big", "big"]
    assert [node.name for node in shape.nodes(gpus=0)] == ["head", "plain", "plain", "plain"]


@given(counts=st.lists(st.integers(0, 9), max_size=4), limit=st.integers(0, 20), gpus=st.sampled_from([0.0, 0.5, 1.0]))
def test_never_more_nodes_than_the_bound(counts: list[int], limit: int, gpus: float) -> None:
    kinds = tuple(NodeType(str(place), {"GPU": place % 2}, count) for place, count in enumerate(counts))
    _, *workers = ClusterShape(NodeType("head", {}), kinds, limit).nodes(gpus)
    assert len(workers) <= min(limit, sum(counts))
    assert all(node.count == 1 for node in workers)


@pytest.mark.parametrize("name", ["gpu", "gcp"])
def test_our_own_files_have_a_price_for_every_node(name: str) -> None:
    for gpus in (0.0, 1.0):
        assert all(node.price for node in load_cluster_file(CLUSTER / f"{name}.yaml").nodes(gpus))


def test_kuberay_manifests() -> None:
    shape = load_cluster_file(CLUSTER / "kuberay.yaml")
    assert shape.head.resources == {"CPU": 0.0, "GPU": 0.0}
    assert shape.nodes(gpus=1)[1:] == [NodeType("gpu", {"CPU": 8.0, "GPU": 1.0})] * 4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            FILE.replace("CPU: 8", "CPU: many"),
            r"available_node_types\.big\.resources\.CPU must be a number .* got 'many'",
        ),
        (FILE.replace("CPU: 8", "CPU: -1"), r"resources\.CPU must be a number of at least 0, got -1"),
        (FILE.replace("resources: {CPU: 2}", ""), r"head\.resources\.CPU must be a number of at least 0, got None"),
        (FILE.replace("head_node_type: head", ""), r"provider\.type must be aws or gcp"),
        ("- 1", r"must be a file of `ray up` or a RayCluster, got None"),
        ("a: b: c", r"must be YAML"),
        ("x: !!python/object/apply:os.system ['touch /tmp/canary-plan']", r"must be YAML"),
        ("", r"must be a file of `ray up`"),
    ],
)
def test_bad_files_are_named_with_the_field(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_cluster_file(written(tmp_path, text))
    assert not Path("/tmp/canary-plan").exists()


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no cluster file here"):
        load_cluster_file(tmp_path / "none.yaml")


def test_machines_of_ones_own_are_planned_with_by_address() -> None:
    with pytest.raises(ConfigError, match="plan others with --address, got 'local'"):
        load_cluster_file(CLUSTER / "onprem.yaml")
