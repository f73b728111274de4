"""What a sweep does next: the study decides, this carries it out. No Ray here; `sweep.tuner` is the hands."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from dmlray.config import TrialConfig
from dmlray.failpoints import reach
from dmlray.seeding import derive_seed
from dmlray.sweep.records import TrialRecord
from dmlray.sweep.settings import SweepConfig, SweepFolder
from dmlray.sweep.space import Space
from dmlray.sweep.stopping import should_stop
from dmlray.sweep.study import Study
from dmlray.train.channel import MAX_STARTS, Event, TrialEnd
from dmlray.train.task import EpochReport, TrialTask

MAX_LOSSES = 3  # slots lost one after another, with no word from any trial between, mean that Ray cannot train

Listener = Callable[["Change"], None]


@dataclass(frozen=True)
class Change:
    """One thing that happened to a trial, with the trial as the study now has it."""

    what: str  # started, continued, epoch, complete, pruned, failed, lost
    trial: TrialRecord
    cause: str | None = None  # of a loss


class StudyDirector:
    """Hands out trials and takes in what they report; every change is in the study before anyone is told of it."""

    def __init__(
        self, sweep: SweepConfig, folder: SweepFolder, space: Space, study: Study, check: Callable[[TrialConfig], None]
    ) -> None:
        self._sweep, self._folder, self._space, self._study, self._check = sweep, folder, space, study, check
        self._left = deque([*study.interrupted(), *study.waiting()])  # what an earlier driver began
        self._listeners: list[Listener] = []
        self._stop = False
        self._lost_in_a_row = 0
        self.failure: str | None = None  # why Ray cannot train, once that is clear

    def listen(self, listener: Listener) -> None:
        """Tell ``listener`` of every change from now on."""
        self._listeners.append(listener)

    def stop(self) -> None:
        """End the sweep as soon as Ray Tune looks; trials under way stay interrupted in the study."""
        self._stop = True

    def wants_to_stop(self) -> bool:
        return self._stop

    def next_task(self) -> TrialTask | None:
        """What an earlier driver began first, under its own number; then new trials until the budget is spent."""
        if self._stop:
            return None
        if self._left:
            trial = self._left.popleft()
        elif self._asked() < self._sweep.trials:
            reach("before-ask")
            trial = self._study.ask(self._space, self._check)
            reach("after-ask", trial=trial.number)
        else:
            return None
        trial = self._study.start(trial.number)
        reach("after-start", trial=trial.number, attempt=trial.attempts)
        self._tell("continued" if trial.attempts > 1 else "started", trial)
        return TrialTask(
            sweep=self._sweep.name,
            number=trial.number,
            config=TrialConfig.model_validate(trial.config),
            data=self._sweep.data,
            directory=self._folder.trial(trial.number).absolute(),
            seed=derive_seed(self._sweep.seed, "trial", trial.number),
            checkpoint=trial.checkpoint,
            checkpoint_digest=trial.digest,
            threads=max(1, int(self._sweep.resources.cpus_per_trial)),
        )

    def on_event(self, event: Event) -> bool:
        """Commit a report or an end to the study; True to train on."""
        self._lost_in_a_row = 0
        if isinstance(event.what, EpochReport):
            return self._on_report(event.number, event.what)
        self._on_end(event.number, event.what)
        return False

    def on_lost(self, number: int, cause: str) -> None:
        """The slot of a trial died: the trial is tried again, the sweep given up when slots keep dying."""
        self._lost_in_a_row += 1
        if self._lost_in_a_row >= MAX_LOSSES:
            self.failure = cause
            self.stop()
        trial = next(trial for trial in self._study.interrupted() if trial.number == number)
        if trial.attempts >= MAX_STARTS and self.failure is None:
            self._tell("failed", self._study.fail(number, "worker_lost", cause))
        else:
            self._left.append(trial)
            self._tell("lost", trial, cause)

    def _on_report(self, number: int, report: EpochReport) -> bool:
        trial = self._study.report(number, report.epoch, report.metrics, report.checkpoint, report.digest)
        is_last = report.epoch >= trial.config["epochs"]
        histories = self._study.histories()
        if is_last or not should_stop(self._space.stopping, histories, number, self._space.max_epochs):
            self._tell("epoch", trial)
            return True
        best_epoch, best = max(trial.history, key=lambda point: (point[1], -point[0]))
        self._tell("pruned", self._study.prune(number, best, best_epoch, dict(trial.curve)[best_epoch]))
        return False

    def _on_end(self, number: int, end: TrialEnd) -> None:
        if end.outcome is not None:
            outcome = end.outcome
            self._tell("complete", self._study.complete(number, outcome.value, outcome.best_epoch, outcome.metrics))
        else:
            self._tell("failed", self._study.fail(number, end.reason or "error", end.message or "no message"))

    def _asked(self) -> int:
        return sum(trial.reason != "bad_config" for trial in self._study.trials())

    def _tell(self, what: str, trial: TrialRecord, cause: str | None = None) -> None:
        for listener in self._listeners:
            listener(Change(what, trial, cause))
