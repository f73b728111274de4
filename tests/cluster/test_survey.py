"""Nodes that are not like the driver's are found before a trial starts, each in one sentence."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dmlray.cli.facts import ray_outcome
from dmlray.cluster_survey import LEAST_BYTES, NodeFacts, Room, _look, judge
from dmlray.errors import DmlrayError, StorageError, UnavailableError

GIB = 2**30
GOOD = Room(True, True, GIB)
OWN = NodeFacts("here", {"Python": "3.11", "dmlray's code": "abcd", "torch": "2.13.0"}, {"/r": GOOD, "/d": GOOD})


def node(versions: dict[str, str] | None = None, **rooms: Room) -> NodeFacts:
    found = {f"/{name}": room for name, room in rooms.items()}
    return NodeFacts("10.0.0.7", {**OWN.versions, **(versions or {})}, {**OWN.rooms, **found})


def test_nodes_like_the_drivers_pass() -> None:
    judge(OWN, [node(), node()], {"/d"})
    judge(OWN, [node(d=Room(True, False, 0))], {"/d"})  # data are only read


@pytest.mark.parametrize(
    ("other", "error", "words"),
    [
        (node({"torch": "2.12.0"}), UnavailableError, "node 10.0.0.7 has torch 2.12.0, here it is 2.13.0: install"),
        (node({"dmlray's code": "none"}), UnavailableError, "has dmlray's code none, here it is abcd"),
        (node(d=Room(False, False, 0)), UnavailableError, r"node 10.0.0.7 has no /d: nodes share the folders"),
        (node(r=Room(True, False, GIB)), StorageError, "/r: cannot be written on node 10.0.0.7"),
        (
            node(tmp=Room(True, True, LEAST_BYTES - 1)),
            StorageError,
            "/tmp: has 200 MiB free on node 10.0.0.7, which is",
        ),
    ],
)
def test_a_node_that_is_not_is_named(other: NodeFacts, error: type[DmlrayError], words: str) -> None:
    with pytest.raises(error, match=words):
        judge(OWN, [node(), other], {"/d"})


def test_a_full_disk_here_is_found_too() -> None:
    with pytest.raises(StorageError, match="/r: has 0 MiB free on node here"):
        judge(NodeFacts("here", OWN.versions, {"/r": Room(True, True, 0)}), [])


@pytest.mark.thorough
def test_looking_sees_this_machine(tmp_path: Path) -> None:
    import pickle

    import torch
    from ray import cloudpickle

    look = pickle.loads(cloudpickle.dumps(_look()))
    versions, rooms = look([str(tmp_path), str(tmp_path / "none")], ["torch", "no such package"])
    assert versions["torch"] == torch.__version__.partition("+")[0]
    assert (versions["no such package"], len(versions["dmlray's code"])) == ("none", 8)
    assert rooms[str(tmp_path)][:2] == (True, True)
    assert rooms[str(tmp_path / "none")] == (False, False, 0)


def test_doctor_says_what_is_wrong_with_nodes() -> None:
    nodes = [{"CPU": 4.0}, {"CPU": 8.0, "GPU": 1.0}]
    sound: dict[str, Any] = {"nodes": nodes, "problems": []}
    assert ray_outcome(sound, 1.0).text == "2 nodes with 12 CPUs and 1 GPUs in all"
    assert not ray_outcome(sound, 1.0).error
    assert ray_outcome(sound, 2.0).text.endswith("; no node has 2 GPUs, which a trial is to have")
    assert ray_outcome({"nodes": nodes, "problems": ["node x has none"]}).error


@pytest.fixture
def second_node() -> Iterator[str]:
    """A Ray of two nodes on this machine; the folder is one that both see."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80_000_000})
    cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    yield cluster.address
    cluster.shutdown()


@pytest.mark.ray
@pytest.mark.slow
def test_every_node_is_looked_at(second_node: str, tmp_path: Path) -> None:
    import ray

    from dmlray.cluster_survey import check_nodes, survey

    ray.init(address=second_node)
    try:
        own, others, silent = survey([str(tmp_path)])
        assert (len(others), silent) == (1, [])
        assert others[0].versions == own.versions
        check_nodes([tmp_path], [], pytest.fail)
        with pytest.raises(UnavailableError, match=r"has no .*gone"):
            check_nodes([tmp_path], [tmp_path / "gone"], pytest.fail)
    finally:
        ray.shutdown()
