"""Keeps MLflow in step with a running sweep, without ever making the sweep wait."""

from collections.abc import Callable, Sequence

from dmlray.sweep.records import TrialRecord
from dmlray.sweep.runs import sweep_run, trial_run
from dmlray.sweep.settings import SweepConfig, wanted
from dmlray.sweep.summary import summarize
from dmlray.tracking import BackgroundTracker

_CLOSE_TIMEOUT_S = 30.0


class SweepMirror:
    """Sends each changed trial and its parent; on entry everything, so that what was missed is replayed."""

    def __init__(self, config: SweepConfig, trials: Sequence[TrialRecord], warn: Callable[[str], None]) -> None:
        self._config, self._warn = config, warn
        self._trials = {trial.number: trial for trial in trials}

    def __enter__(self) -> "SweepMirror":
        self._tracker = BackgroundTracker(self._config.tracking_uri, "dmlray")
        self._send(list(self._trials.values()))
        return self

    def __exit__(self, *exception: object) -> None:
        warning = self._tracker.close(_CLOSE_TIMEOUT_S)
        if warning:
            self._warn(warning)

    def settle(self, config: SweepConfig) -> None:
        """Send the parent as the sweep's final settings have it: its budget may have ended it."""
        self._config = config
        self._send([])

    def update(self, trial: TrialRecord) -> None:
        """Send one changed trial."""
        self._trials[trial.number] = trial
        self._send([trial])

    def _send(self, changed: Sequence[TrialRecord]) -> None:
        every = list(self._trials.values())
        if not every:
            return  # a sweep that never begins leaves no run
        parent = sweep_run(self._config, every, summarize(every, wanted(self._config, every)).is_over)
        self._tracker.submit([parent, *(trial_run(self._config, trial) for trial in changed)])
