"""Checkpoints that no trial goes on from any more: of a trial that has ended, all but those of its best epochs."""

from collections.abc import Sequence
from contextlib import suppress

from dmlray.sweep.director import Change
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.settings import SweepFolder
from dmlray.train.resume import best_epochs, checkpoint_name, prune_checkpoints


class Trimming:
    """Listens to a sweep. A trial's end is in the study before anyone hears of it, so nothing here can be missed."""

    def __init__(self, folder: SweepFolder) -> None:
        self._folder = folder

    def __call__(self, change: Change) -> None:
        self.trim([change.trial])

    def trim(self, trials: Sequence[TrialRecord]) -> None:
        """Of those that have ended: a driver may have been killed between a trial's end and this."""
        for trial in trials:
            if trial.state in (TrialState.complete, TrialState.pruned) and trial.best_epoch is not None:
                checkpoints = self._folder.trial(trial.number) / "checkpoints"
                if not (checkpoints / checkpoint_name(trial.best_epoch)).exists():
                    continue  # a trial that keeps its last epoch was stopped early
                config = trial.config
                kept = best_epochs(trial.history, config.get("snapshots", 1), config.get("keep", "best"))
                with suppress(OSError):  # then it takes more room than it needs, and is right all the same
                    prune_checkpoints(checkpoints, {trial.best_epoch, *kept})
