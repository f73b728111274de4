"""What a slot that was lost still holds must not keep the next one waiting."""

import time
from types import SimpleNamespace

import pytest
import ray
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from dmlray.sweep import lookout
from dmlray.sweep.lookout import free_what_the_dead_hold

pytestmark = pytest.mark.ray


@ray.remote(num_cpus=0)
class Controller:
    """As Ray Train's: it makes a placement group for its workers."""

    def hold(self) -> PlacementGroup:
        group = placement_group([{"CPU": 1}])
        ray.get(group.ready())
        return group


@ray.remote(num_cpus=0)
class Channel:
    """Knows of so many workers."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def workers(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(node="here")] * self._workers


@pytest.mark.parametrize(("workers", "freed"), [(0, [True]), (1, [])])
def test_a_slot_that_has_no_workers_yet_frees_what_the_dead_hold(
    ray_session: None, monkeypatch: pytest.MonkeyPatch, workers: int, freed: list[bool]
) -> None:
    called: list[bool] = []
    monkeypatch.setattr(lookout, "free_what_the_dead_hold", lambda: called.append(True))
    monkeypatch.setattr(lookout.Lookout, "_end_the_dead", lambda *_: None)
    lookout.Lookout(Channel.remote(workers)).look()
    assert called == freed


def free_cpus() -> float:
    return float(ray.available_resources().get("CPU", 0.0))


def wait_for_free_cpus(wanted: float) -> None:
    deadline = time.monotonic() + 60
    while free_cpus() != wanted:
        assert time.monotonic() < deadline, f"{free_cpus()} CPUs are free, not {wanted}"
        free_what_the_dead_hold()
        time.sleep(0.2)


def test_what_the_dead_hold_is_freed_and_what_the_living_hold_is_not(ray_session: None) -> None:
    before = float(ray.cluster_resources()["CPU"])
    wait_for_free_cpus(before)  # tests before this one may still be giving theirs back
    living, dead = Controller.remote(), Controller.remote()
    ray.get([living.hold.remote(), dead.hold.remote()])
    ours = placement_group([{"memory": 1}])  # as Tune's, for the slots themselves
    ray.get(ours.ready())
    ray.kill(dead)
    wait_for_free_cpus(before - 1)
    time.sleep(1)
    free_what_the_dead_hold()
    assert free_cpus() == before - 1
    assert placement_group_table(ours)["state"] == "CREATED"
    remove_placement_group(ours)
    ray.kill(living)
    wait_for_free_cpus(before)
