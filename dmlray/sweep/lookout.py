"""Watches over a slot's workers: for their end, where Ray does not see it, and for the end of their nodes."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import ray
from ray._private.state import state  # as Ray Train's own watcher does: there is no public way
from ray.core.generated.gcs_pb2 import PlacementGroupTableData  # type: ignore[attr-defined]  # no stubs
from ray.util.placement_group import PlacementGroup, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from dmlray.process import Fate, Process
from dmlray.train.channel import Presence

_LOOK_S = 5.0
_ASK_S = 30.0  # between questions to another machine, each a Ray task there
_ask: Any = ray.remote(num_cpus=0, max_retries=0)(Process.fate)


class Lookout:
    """Looks at the workers of ``channel``, an actor; by the kernel, so that a busy one is never taken for dead."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._here: str = ray.get_runtime_context().get_node_id()
        self._looked = -_LOOK_S
        self._ended: set[Process] = set()
        self._asked: dict[Process, float] = {}

    def look(self) -> None:
        """Act on what has happened, at most every 5 s."""
        if time.monotonic() < self._looked + _LOOK_S:
            return
        self._looked = time.monotonic()
        workers = ray.get(self._channel.workers.remote())
        if not workers:  # perhaps since there is no room for them
            free_what_the_dead_hold()
        self._end_the_dead(workers)
        if self.is_leaving(worker.node for worker in workers):
            ray.get(self._channel.leave.remote())

    def is_leaving(self, nodes: Iterable[str] = ()) -> bool:
        """Whether this node, without which the workers cannot be, or one of ``nodes`` is about to be taken away."""
        return not {self._here, *nodes}.isdisjoint(state.get_draining_nodes())

    def _end_the_dead(self, workers: Sequence[Presence]) -> None:
        """Tell Ray of workers whose process is gone, so that Ray Train starts others.

        A child that a worker has forked holds its sockets when it dies, and Ray hears of no end.
        """
        for worker in workers:
            if worker.process not in self._ended and self._fate(worker) == "dead":
                self._ended.add(worker.process)
                ray.kill(worker.actor)

    def _fate(self, worker: Presence) -> Fate:
        fate, now = worker.process.fate(), time.monotonic()
        if fate != "unknown" or now < self._asked.get(worker.process, -_ASK_S) + _ASK_S:
            return fate
        self._asked[worker.process] = now
        there = NodeAffinitySchedulingStrategy(worker.node, soft=False)
        try:
            answer: Fate = ray.get(_ask.options(scheduling_strategy=there).remote(worker.process), timeout=_ASK_S)
        except ray.exceptions.RayError:  # the node is gone, of which Ray knows, or too busy to answer
            return "unknown"
        return answer


def free_what_the_dead_hold() -> None:
    """Remove this sweep's placement groups whose creator has died, such as the Ray Train controller of a lost slot.

    Ray itself keeps them until the driver ends, and gives them another place when their node is gone; Ray Train's
    cleaner may have been on that node, or find no dashboard to ask.
    """
    job = ray.get_runtime_context().get_job_id()
    for data in state._connect_and_get_accessor().get_placement_group_table():
        group = PlacementGroupTableData.FromString(data)
        is_held = group.state != PlacementGroupTableData.REMOVED and not group.is_detached
        is_of_an_actor = not ray.ActorID(group.creator_actor_id).is_nil()  # else of the driver, which Ray calls dead
        if is_held and is_of_an_actor and group.creator_actor_dead and group.creator_job_id.hex() == job:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(group.placement_group_id)))
