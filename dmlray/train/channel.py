"""How a slot and its long-lived worker talk: tasks one way, reports and ends the other, verdicts back.

Plain asyncio, so that it is tested without Ray; `sweep.slot` runs one as a Ray actor. A worker that died and was
restarted asks for its task again and gets it with the latest checkpoint.
"""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from dmlray.errors import UnavailableError
from dmlray.process import Process
from dmlray.train.task import EpochReport, TrialOutcome, TrialTask

MAX_STARTS = 3  # a trial that has killed its worker this often is given up


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended on its worker: with an outcome, or with a reason and a message for the user."""

    outcome: TrialOutcome | None = None
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Event:
    """What a worker says about trial ``number``."""

    number: int
    what: EpochReport | TrialEnd


@dataclass(frozen=True)
class Presence:
    """A worker that has come: its rank, its process on which node, and the Ray actor that it runs in."""

    rank: int
    process: Process
    node: str
    actor: Any


class Channel:
    """One slot's mailbox. At most one task is current; what an earlier task's worker still says is dropped.

    So is what a ``process`` says in whose place another has come: it was out of reach for a while and given up.
    """

    def __init__(self) -> None:
        self._workers: dict[int, Presence] = {}
        self._notices: dict[Process, asyncio.Event] = {}
        self._task: TrialTask | None = None
        self._starts = 0
        self._closed = False
        self._changed = asyncio.Event()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._verdict: asyncio.Future[bool] | None = None

    async def assign(self, task: TrialTask) -> None:
        """Make ``task`` the current one; a worker that waits for a verdict on the last one is told to stop it."""
        self._decide(False)
        self._events = asyncio.Queue()
        self._task, self._starts = task, 0
        self._changed.set()

    async def arrive(self, worker: Presence) -> None:
        """A worker is there, in place of whoever had its rank before."""
        self._workers[worker.rank] = worker
        self._notices[worker.process] = asyncio.Event()
        self._changed.set()  # who waits here for a task may be the one that it replaces

    async def workers(self) -> list[Presence]:
        """Those that have come last, by rank."""
        return [self._workers[rank] for rank in sorted(self._workers)]

    async def leave(self) -> None:
        """The place of the workers that are there is about to go; that is not the trial's fault."""
        self._starts = 0
        for worker in self._workers.values():
            self._notices[worker.process].set()
        self._changed.set()

    async def notice(self, process: Process) -> None:
        """Wait until the worker that this is must leave."""
        await self._notices[process].wait()

    async def go_on(self) -> None:
        """Let the worker train on after its last report, unless that was not heard yet.

        A short epoch may be over before the slot asks for its first event.
        """
        if self._events.empty():
            self._decide(True)

    async def next_event(self, timeout_s: float) -> Event | None:
        """The worker's next word, or None when it says nothing for ``timeout_s``."""
        try:
            return await asyncio.wait_for(self._events.get(), timeout_s)
        except TimeoutError:
            return None

    async def close(self) -> bool:
        """There will be no more tasks: the worker may go, after the report that it is about to make at the latest.

        True when it is in the middle of a trial; otherwise it is waiting here, or on its way after a restart.
        """
        is_training = self._task is not None
        self._task, self._closed = None, True
        self._decide(False)
        self._changed.set()
        return is_training

    async def next_task(self, process: Process | None = None) -> TrialTask | None:
        """Wait for a task; None once closed. One that comes back after `MAX_STARTS` starts ends as ``worker_lost``.

        Raises UnavailableError for a worker that must leave: it is to be started again, elsewhere; or has been.
        """
        while True:
            if self._is_replaced(process):
                raise UnavailableError("another worker has come in this one's place")
            if self._closed and self._task is None:
                return None
            if self._is_leaving():
                raise UnavailableError("the node is about to go: the next trial is for another worker")
            if self._task is None:
                self._changed.clear()
                await self._changed.wait()
            elif self._starts < MAX_STARTS:
                self._starts += 1
                return self._task
            else:
                message = f"its worker process died {MAX_STARTS} times; see the trial's log and the node's memory"
                await self.end(self._task.number, TrialEnd(reason="worker_lost", message=message))

    async def report(self, number: int, report: EpochReport, process: Process | None = None) -> bool:
        """Hand a report over and wait for the verdict: True to train on, False to stop."""
        if self._task is None or self._task.number != number or self._is_replaced(process):
            return False
        self._task = replace(self._task, checkpoint=report.checkpoint, checkpoint_digest=report.digest)
        self._verdict = asyncio.get_running_loop().create_future()
        await self._events.put(Event(number, report))
        return await self._verdict

    async def end(self, number: int, end: TrialEnd, process: Process | None = None) -> None:
        """Hand over how a trial ended; the worker is free for the next."""
        if self._task is not None and self._task.number == number and not self._is_replaced(process):
            self._task = None
            await self._events.put(Event(number, end))

    def _is_replaced(self, process: Process | None) -> bool:
        return process in self._notices and process not in {worker.process for worker in self._workers.values()}

    def _is_leaving(self) -> bool:
        first = self._workers.get(0)
        return first is not None and self._notices[first.process].is_set()

    def _decide(self, verdict: bool) -> None:
        if self._verdict is not None and not self._verdict.done():
            self._verdict.set_result(verdict)
        self._verdict = None
