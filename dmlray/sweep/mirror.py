"""Keeps MLflow in step with a running sweep, without ever making the sweep wait."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from dmlray.errors import LeaseLostError
from dmlray.sweep.lineage import dataset_records
from dmlray.sweep.records import TrialRecord
from dmlray.sweep.runs import EnsembleSoFar, sweep_run, trial_run
from dmlray.sweep.settings import SweepConfig, wanted
from dmlray.sweep.summary import summarize
from dmlray.tracking import BackgroundTracker

_CLOSE_TIMEOUT_S = 30.0  # for a server that answers
_SHARE = 0.01  # of the sweep's time, which one that fails may still cost at the end


class SweepMirror:
    """Sends each changed trial and its parent; with the first of them everything, so that what was missed is replayed.

    Not before: only what the study tells whoever holds its lease is newer than what another driver has sent.
    """

    def __init__(
        self,
        config: SweepConfig,
        read: Callable[[], Sequence[TrialRecord]],
        warn: Callable[[str], None],
        ensemble: Callable[[], EnsembleSoFar | None] = lambda: None,
    ) -> None:
        """``read`` gives the study's trials; ``ensemble`` is asked whenever the sweep's own run is sent."""
        self._config, self._read, self._warn, self._ensemble = config, read, warn, ensemble
        self._trials: dict[int, TrialRecord] | None = None
        self._has_sent = False
        self._datasets = dataset_records(config)
        self._artifacts: list[Path] = []

    def __enter__(self) -> "SweepMirror":
        self._began = time.monotonic()
        self._tracker = BackgroundTracker(self._config.tracking_uri, "dmlray")
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is not None and issubclass(kind, LeaseLostError):
            self._tracker.abandon()
        elapsed = time.monotonic() - self._began
        timeout = max(1.0, _SHARE * elapsed) if self._tracker.is_failing else _CLOSE_TIMEOUT_S
        warning = self._tracker.close(min(timeout, _CLOSE_TIMEOUT_S))
        if warning:
            self._warn(f"{warning}; what is missing is sent by search --resume or fsck --repair")

    def update(self, trial: TrialRecord) -> None:
        """Send one changed trial, with the sweep's own run where the trial's state is new."""
        trials = self._known()
        before = trials.get(trial.number)
        trials[trial.number] = trial
        self._send([trial], with_parent=before is None or before.state is not trial.state)

    def settle(self, config: SweepConfig) -> None:
        """The sweep has ended with these settings, which now may say that its space is exhausted."""
        self._config = config
        self._send([], with_parent=True)

    def attach(self, path: Path) -> None:
        """The sweep's own run gets this file, or what is new in it."""
        self._artifacts = [path]
        self._send([], with_parent=True)

    def _known(self) -> dict[int, TrialRecord]:
        """The trials by number, as the study had them when first asked, and as they have changed since."""
        if self._trials is None:
            self._trials = {trial.number: trial for trial in self._read()}
        return self._trials

    def _send(self, changed: Sequence[TrialRecord], with_parent: bool) -> None:
        every = list(self._known().values())
        if not every:
            return  # a sweep that never begins leaves no run
        is_first, self._has_sent = not self._has_sent, True
        runs = [trial_run(self._config, trial, self._datasets) for trial in (every if is_first else changed)]
        if with_parent or is_first:
            is_over = summarize(every, wanted(self._config, every)).is_over
            parent = sweep_run(self._config, every, is_over, self._ensemble())
            runs.append(replace(parent, artifacts=self._artifacts))
        self._tracker.submit(runs)
