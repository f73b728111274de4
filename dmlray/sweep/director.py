"""What a sweep does next: the study decides, this carries it out. No Ray here; `sweep.tuner` is the hands."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dmlray.config import TrialConfig
from dmlray.errors import DmlrayError, LeaseLostError, StorageError, UnavailableError
from dmlray.failpoints import reach
from dmlray.seeding import derive_seed
from dmlray.sweep.asking import SpaceExhaustedError
from dmlray.sweep.budgets import GPU_S, SWEEP_S, seconds_run
from dmlray.sweep.records import TrialRecord
from dmlray.sweep.retries import Reason, known_reason
from dmlray.sweep.settings import SweepConfig, SweepFolder, end_of
from dmlray.sweep.space import Space
from dmlray.sweep.stopping import should_stop
from dmlray.sweep.study import Study
from dmlray.train.channel import Event, TrialEnd
from dmlray.train.task import EpochReport, Limits, TrialTask

MAX_LOSSES = 3  # slots lost one after another, with no word from any trial between, mean that Ray cannot train

Listener = Callable[["Change"], None]


@dataclass(frozen=True)
class Change:
    """One thing that happened to a trial, with the trial as the study now has it."""

    what: str  # started, continued, epoch, complete, pruned, failed, retried
    trial: TrialRecord
    cause: str | None = None  # why it is tried again


class StudyDirector:
    """Hands out trials and takes in what they report; every change is in the study before anyone is told of it."""

    def __init__(
        self,
        sweep: SweepConfig,
        folder: SweepFolder,
        space: Space,
        study: Study,
        check: Callable[[TrialConfig], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sweep, self._folder, self._space, self._study, self._check = sweep, folder, space, study, check
        self._left = deque([*study.interrupted(), *study.waiting()])  # what an earlier driver began
        self._listeners: list[Listener] = []
        self._stop = False
        self._lost_in_a_row = self._refused_in_a_row = 0
        self._clock, self._began, self._ran_s = clock, clock(), seconds_run(study.trials())
        self.exhausted = sweep.exhausted
        self.failure: str | None = None  # why Ray cannot train, once that is clear
        self.error: DmlrayError | None = None  # why the study takes nothing more, once it does not

    def listen(self, listener: Listener) -> None:
        """Tell ``listener`` of every change from now on."""
        self._listeners.append(listener)

    def stop(self) -> None:
        """End the sweep as soon as Ray Tune looks; trials under way stay interrupted in the study."""
        self._stop = True

    def abort(self, error: DmlrayError) -> None:
        """End the sweep because the study cannot be written; nothing is handed out or taken in any more."""
        self.error = self.error or error
        self.stop()

    def wants_to_stop(self) -> bool:
        return self._stop

    def next_task(self) -> TrialTask | None:
        """What an earlier driver began first, under its own number; then new trials until the budget is spent."""
        if self._stop:
            return None
        with self._aborting():
            return self._next_task()
        return None

    def on_event(self, event: Event) -> bool:
        """Commit a report or an end to the study; True to train on."""
        if self.error is not None:
            return False
        self._lost_in_a_row = 0
        is_refused = isinstance(event.what, TrialEnd) and event.what.reason == "storage"
        self._refused_in_a_row = self._refused_in_a_row + 1 if is_refused else 0
        with self._aborting():
            if isinstance(event.what, EpochReport):
                return self._on_report(event.number, event.what)
            self._on_end(event.number, event.what)
        return False

    def on_lost(self, number: int, cause: str, reason: Reason = "worker_lost") -> None:
        """The slot of a trial died: the trial is tried again, the sweep given up when slots keep dying."""
        self._lost_in_a_row += reason != "preempted"
        if self._lost_in_a_row >= MAX_LOSSES:
            self.failure = cause
            self.stop()
        if self.error is None and self.failure is None:
            with self._aborting():
                self._fail_or_retry(number, reason, cause)

    def _next_task(self) -> TrialTask | None:
        trial = self._next_left() or self._ask()
        if trial is None:
            return None
        trial = self._study.start(trial.number)
        reach("after-start", trial=trial.number, attempt=trial.attempts)
        self._tell("continued" if trial.attempts > 1 else "started", trial)
        resources = self._sweep.resources
        return TrialTask(
            sweep=self._sweep.name,
            number=trial.number,
            config=TrialConfig.model_validate(trial.config),
            data=self._sweep.data,
            directory=self._folder.trial(trial.number).absolute(),
            seed=derive_seed(self._sweep.seed, "trial", trial.number),
            checkpoint=trial.checkpoint,
            checkpoint_digest=trial.digest,
            threads=max(1, int(resources.cpus_per_trial / resources.workers_per_trial)),
            limits=Limits(resources.trial_seconds, resources.stall_seconds),
        )

    def _next_left(self) -> TrialRecord | None:
        while self._left:
            trial = self._left.popleft()
            if not self._prunes(trial):  # it may have been cut off between its report and the verdict
                return trial
        return None

    def _ask(self) -> TrialRecord | None:
        """A new trial; None where the budget or the space has no more."""
        if self.exhausted or end_of(self._sweep, self._study.trials()):
            return None
        reach("before-ask")
        try:
            trial = self._study.ask(self._space, self._check)
        except SpaceExhaustedError:
            self.exhausted = True
            return None
        reach("after-ask", trial=trial.number)
        return trial

    def _on_report(self, number: int, report: EpochReport) -> bool:
        metrics = {**report.metrics, **self._costs(report)}
        trial = self._study.report(number, report.epoch, metrics, report.checkpoint, report.digest)
        if self._prunes(trial):
            return False
        self._tell("epoch", trial)
        return True

    def _prunes(self, trial: TrialRecord) -> bool:
        """Stop a trial early if its last report says so; True if that was done."""
        epoch = trial.curve[-1][0] if trial.curve else 0
        stopping, histories = self._space.stopping, self._study.histories()
        if epoch in (0, trial.config["epochs"]):
            return False
        if not should_stop(stopping, histories, trial.number, self._space.max_epochs):
            return False
        best_epoch, best = max(trial.history, key=lambda point: (point[1], -point[0]))
        self._tell("pruned", self._study.prune(trial.number, best, best_epoch, dict(trial.curve)[best_epoch]))
        return True

    def _on_end(self, number: int, end: TrialEnd) -> None:
        if end.outcome is not None:
            outcome = end.outcome
            metrics = outcome.metrics | ({"test_s": outcome.test_s} if outcome.test_s else {})
            self._tell("complete", self._study.complete(number, outcome.value, outcome.best_epoch, metrics))
        else:
            reason = known_reason(end.reason)
            within_slot = reason == "worker_lost"  # whose worker was started anew until that was enough
            self._fail_or_retry(number, reason, end.message or "no message", may_retry=not within_slot)

    def _fail_or_retry(self, number: int, reason: Reason, message: str, may_retry: bool = True) -> None:
        trial = next(trial for trial in self._study.interrupted() if trial.number == number)
        if may_retry and self._sweep.retries.forgives(reason, trial.retries):
            trial = self._study.forgive(number, reason)
            self._left.append(trial)
            self._tell("retried", trial, f"{reason}: {message}")
        elif reason == "storage" and self._refused_in_a_row > max(MAX_LOSSES, self._sweep.retries.storage):
            # nothing gets through: other trials would only fail after this one
            raise UnavailableError(f"{message}; once that is mended: dmlray search --resume {self._folder.as_typed}")
        else:
            self._tell("failed", self._study.fail(number, reason, message))

    def _costs(self, report: EpochReport) -> dict[str, float]:
        """What budgets are reckoned by: seconds that the sweep has run by now, and GPU-seconds of the epoch."""
        gpu_s = report.metrics.get("epoch_s", 0.0) * self._sweep.resources.gpus_per_trial
        return {SWEEP_S: self._ran_s + self._clock() - self._began, **({GPU_S: gpu_s} if gpu_s else {})}

    @contextmanager
    def _aborting(self) -> Iterator[None]:
        try:
            yield
        except (StorageError, UnavailableError, LeaseLostError) as error:
            self.abort(error)

    def _tell(self, what: str, trial: TrialRecord, cause: str | None = None) -> None:
        for listener in self._listeners:
            listener(Change(what, trial, cause))
