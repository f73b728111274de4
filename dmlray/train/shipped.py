"""Trials whose folders are copied to a storage path, epoch by epoch, so that any node can go on with them.

A runner is wrapped; it, and all that it calls, know local folders only. Before a trial begins its copy is taken from
whoever kept it, and its folder is made what the copy is; before an epoch is reported, and before the end is, the copy
is made what the folder is. Epochs that were copied but of which the study does not know, because its driver was lost,
are reported first.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from pydantic import ValidationError

from dmlray.config import TrialConfig
from dmlray.copies import FolderCopy, copy_of, failed_here
from dmlray.errors import DmlrayError, StorageError, TrainingError, UnavailableError
from dmlray.remote import Remote
from dmlray.train.distributed import ALONE, Peers
from dmlray.train.limits import STACKS_FILE, UNWATCHED, Watch
from dmlray.train.log import TrialLog
from dmlray.train.task import EpochReport, TrialOutcome, TrialTask

if TYPE_CHECKING:
    from dmlray.train.worker import Report, Runner

Value = TypeVar("Value")

_LEFT_OUT = frozenset({STACKS_FILE})
_OF_THE_HEAD = "sweep.yaml"  # beside trials/, in the one folder that commands look at


@dataclass(frozen=True)
class Shipped:
    """``runner`` with the copies of trials' folders at ``trials``, by their names."""

    runner: "Runner"
    trials: Remote

    def __call__(
        self,
        task: TrialTask,
        report: "Report",
        device: torch.device,
        *,
        peers: Peers = ALONE,
        watch: Watch = UNWATCHED,
    ) -> TrialOutcome:
        """As the runner does. Raises TrainingError ``storage`` where the storage path does not answer."""
        copy = FolderCopy(task.directory, self.trials.below(task.directory.name))

        def push() -> None:
            with watch.paused():
                _reached(lambda: copy.push(_LEFT_OUT), UnavailableError, StorageError)

        def report_copied(epoch: EpochReport) -> bool:
            push()
            return report(epoch)

        with watch.paused():
            begun = peers.agree(_begin(task, copy, report_copied) if peers.is_first else task)
        if isinstance(begun, TrialOutcome):
            return begun
        try:
            outcome = self.runner(begun, report_copied, device, peers=peers, watch=watch)
        except TrainingError as error:
            if error.reason == "preempted" and peers.is_first:
                push()  # what it has kept of the epoch, before the node goes
            raise
        if peers.is_first:
            push()
            if not (task.directory.parents[1] / _OF_THE_HEAD).exists():
                shutil.rmtree(task.directory, ignore_errors=True)  # this node's disk is for what runs
        return outcome


def _begin(task: TrialTask, copy: FolderCopy, report: Callable[[EpochReport], bool]) -> TrialTask | TrialOutcome:
    """The task to go on with once the folder is what its copy is; how the trial ended if it is stopped meanwhile."""
    task.directory.mkdir(parents=True, exist_ok=True)
    _reached(copy.take, UnavailableError, StorageError)
    try:
        problems = _reached(lambda: _pull(task, copy), UnavailableError)
    except StorageError as error:
        if failed_here(error):
            raise TrainingError("storage", str(error)) from error
        problems = [str(error)]  # a damaged list
    log = TrialLog(task.directory / "log.jsonl")
    epochs = _unreported(task, log) if _is_same(task) else []
    for problem in problems:
        log.append(warning=f"passed over a copy: {problem}")
    for number, epoch in enumerate(epochs):
        if not report(epoch):
            return _stopped(log, epochs[number].epoch)
    return replace(task, checkpoint=epochs[-1].checkpoint, checkpoint_digest=epochs[-1].digest) if epochs else task


def _pull(task: TrialTask, copy: FolderCopy) -> list[str]:
    """Nothing but its configuration where the copy is of another trial that once had this number."""
    problems = copy.pull("config.json".__eq__)
    return copy.pull() if _is_same(task) else problems


def _is_same(task: TrialTask) -> bool:
    try:
        return TrialConfig.model_validate_json((task.directory / "config.json").read_bytes()) == task.config
    except (FileNotFoundError, ValidationError):
        return False


def _unreported(task: TrialTask, log: TrialLog) -> list[EpochReport]:
    """The copied epochs after ``task.checkpoint``, as far as there is a good checkpoint to go on from."""
    lines = _epochs(log)
    known = [line["epoch"] for line in lines if (line["checkpoint"], line["digest"]) == _newest(task)]
    if not known and task.checkpoint is not None:
        return []  # of another attempt
    first = known[0] + 1 if known else 1
    after = [_as_report(line) for line in lines if line["epoch"] >= first]
    if [epoch.epoch for epoch in after] != list(range(first, first + len(after))):
        return []
    while after and not _is_good(task, after[-1]):
        after.pop()
    return after


def _epochs(log: TrialLog) -> list[dict[str, Any]]:
    """Its lines about whole epochs."""
    return [line for line in log.lines if {"epoch", "digest"} <= line.keys()]


def _newest(task: TrialTask) -> tuple[str | None, str | None]:
    return task.checkpoint, task.checkpoint_digest


def _as_report(line: dict[str, Any]) -> EpochReport:
    return EpochReport(line["epoch"], line["metrics"], line["checkpoint"], line["digest"])


def _is_good(task: TrialTask, epoch: EpochReport) -> bool:
    path = task.directory / "checkpoints" / epoch.checkpoint
    return path.is_file() and copy_of(path).sha256 == epoch.digest


def _stopped(log: TrialLog, last: int) -> TrialOutcome:
    """As `train.trial.run_trial` ends after epoch ``last`` when it is told to stop."""
    epochs = [_as_report(line) for line in _epochs(log) if line["epoch"] <= last]
    best = max(epochs, key=lambda epoch: (epoch.metrics["val_gap"], -epoch.epoch))
    return TrialOutcome("stopped", best.epoch, best.metrics["val_gap"], best.metrics)


def _reached(work: Callable[[], Value], *unreached: type[DmlrayError]) -> Value:
    try:
        return work()
    except unreached as error:
        raise TrainingError("storage", str(error)) from error
