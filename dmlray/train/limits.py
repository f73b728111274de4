"""How long a trial may take in all, and without a sign of life; a thread of its own ends the process that hangs.

A trial looks at its watch at every batch, so one that is only slow ends in order. One that hangs cannot look: the guard
does, a thread that tells the slot and leaves the process at once, whatever the hanging code does with signals. Code
that never gives Python's lock back stops even the guard; then a timer in C ends the process and leaves its stacks in
``STACKS_FILE``, by which the process that follows knows (`cause_of_death`).
"""

import faulthandler
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dmlray.data.batch import Batch
from dmlray.errors import TrainingError
from dmlray.train.loop import BatchSource
from dmlray.train.task import Limits

ERROR_FILE = "error.txt"  # what a user may want to know beyond the sentence in the study: a traceback, stacks
STACKS_FILE = "stacks.txt"
_SEE = f"(see {ERROR_FILE} in the trial's folder)"


@dataclass(frozen=True)
class Overdue:
    """Why a trial must end: a reason for the study, ``timeout`` or ``hang``, and a sentence for the user."""

    reason: str
    message: str


class Watch:
    """One trial's clock, which no change of the wall clock touches. ``now`` gives seconds from any beginning.

    ``must_leave`` says whether the place where it is trained is about to go.
    """

    def __init__(
        self,
        limits: Limits,
        now: Callable[[], float] = time.monotonic,
        must_leave: Callable[[], bool] = lambda: False,
    ) -> None:
        self.limits, self.must_leave, self._now = limits, must_leave, now
        self._started = self._last_beat = now()
        self._pauses = 0

    def beat(self) -> None:
        """A sign of life. Raises TrainingError ``timeout`` when the trial's time is over."""
        self._last_beat = self._now()
        if overdue := self._over_time(0.0):
            raise TrainingError(overdue.reason, overdue.message)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nobody expects signs of life inside the block: it waits for others."""
        self._pauses += 1
        try:
            yield
        finally:
            self._last_beat = self._now()
            self._pauses -= 1

    def overdue(self) -> Overdue | None:
        """What there is to say once a limit and the grace have passed, and the trial has not ended by itself."""
        if self._pauses:
            return None
        stall_s, silent_s = self.limits.stall_s, self._now() - self._last_beat
        if stall_s is not None and silent_s > stall_s + self.limits.grace_s:
            return hang(silent_s, stall_s)
        return self._over_time(self.limits.grace_s)

    def _over_time(self, grace_s: float) -> Overdue | None:
        trial_s, taken_s = self.limits.trial_s, self._now() - self._started
        if trial_s is None or taken_s <= trial_s + grace_s:
            return None
        return Overdue("timeout", f"not done after {taken_s:.0f} s; --trial-seconds allows {trial_s:g}")


UNWATCHED = Watch(Limits())


def hang(silent_s: float, stall_s: float) -> Overdue:
    """What is said of a trial that stood still."""
    return Overdue("hang", f"no batch was done for {silent_s:.0f} s; --stall-seconds allows {stall_s:g} {_SEE}")


class Watched:
    """The batches of ``source``, each a sign of life."""

    def __init__(self, source: BatchSource, watch: Watch) -> None:
        self._source, self._watch = source, watch

    def epoch(self, epoch: int) -> Generator[Batch, None, None]:
        """The batches of one epoch."""
        with closing(self._source.epoch(epoch)) as batches:
            for batch in batches:
                self._watch.beat()
                yield batch


@contextmanager
def guarded(watch: Watch, folder: Path, tell: Callable[[Overdue], None]) -> Iterator[None]:
    """End this process, after ``tell``, when ``watch`` is overdue inside the block; stacks lie in ``folder`` then."""
    if watch.limits.trial_s is None and watch.limits.stall_s is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    path, is_over = folder / STACKS_FILE, threading.Event()
    with path.open("w", encoding="utf-8") as stacks:

        def guard() -> None:
            while not is_over.wait(min(1.0, watch.limits.grace_s / 4)):
                faulthandler.dump_traceback_later(_patience_s(watch.limits), exit=True, file=stacks)
                if overdue := watch.overdue():
                    with (folder / ERROR_FILE).open("w", encoding="utf-8") as error:
                        faulthandler.dump_traceback(error)
                    path.unlink()
                    tell(overdue)
                    os._exit(1)

        thread = threading.Thread(target=guard, name="guard", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
            faulthandler.cancel_dump_traceback_later()
    path.unlink(missing_ok=True)


def cause_of_death(limits: Limits, folder: Path) -> Overdue | None:
    """How an earlier process ended that trained the trial of ``folder``, if it was the timer in C that ended it."""
    path = folder / STACKS_FILE
    if not path.exists() or not path.stat().st_size:
        return None
    path.replace(folder / ERROR_FILE)
    patience_s = _patience_s(limits)
    return hang(patience_s, limits.stall_s or patience_s)


def _patience_s(limits: Limits) -> float:
    """How long the guard itself may be silent."""
    allowed = [limit for limit in (limits.trial_s, limits.stall_s) if limit is not None]
    return min(allowed, default=0.0) + 2 * limits.grace_s
