"""A sweep run to its end as people see it: progress on stderr, the best trials on stdout, the report at the end."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dmlray.cli.console import is_verbose, note, to_stderr
from dmlray.errors import DmlrayError

if TYPE_CHECKING:
    from dmlray.cli.progress import SweepProgress
    from dmlray.ensemble.live import LiveUpdates
    from dmlray.sweep.director import Change
    from dmlray.sweep.mirror import SweepMirror
    from dmlray.sweep.records import TrialRecord
    from dmlray.sweep.settings import SweepConfig, SweepFolder
    from dmlray.sweep.summary import Summary

_SUMMARY_S = 1.0  # how old the counts beside an epoch may be


class Onlookers:
    """The terminal, MLflow and the ensemble so far, which hear of each change."""

    def __init__(
        self,
        config: "SweepConfig",
        trials: "dict[int, TrialRecord]",
        progress: "SweepProgress",
        live: "LiveUpdates",
        mirror: "SweepMirror",
    ) -> None:
        """``trials`` by number are kept up to date."""
        self._config, self._trials = config, trials
        self._progress, self._live, self._mirror = progress, live, mirror
        self._summary: Summary | None = None
        self._counted_at = 0.0
        live.add(_complete(trials.values()))

    def on_change(self, change: "Change") -> None:
        """A listener of the sweep."""
        from time import monotonic

        self._trials[change.trial.number] = change.trial
        now = monotonic()
        if self._summary is None or change.what != "epoch" or now - self._counted_at > _SUMMARY_S:
            self._summary, self._counted_at = _summary(self._config, self._trials), now  # it looks at every trial
        self._progress.show(change, self._summary)
        self._live.add(_complete([change.trial]))
        self._mirror.update(change.trial)


def run_shown(
    folder: "SweepFolder",
    config: "SweepConfig",
    address: str | None,
    retry_failed: bool = False,
    insecure: bool = False,
) -> None:
    """Run a sweep to its end, then write its report, which goes into MLflow too, and print its best trials.

    A sweep that is at its end already is not run. Raises as `sweep.session.run_sweep` does, and DmlrayError where no
    trial succeeded.
    """
    from contextlib import closing
    from functools import partial

    from dmlray.cli.progress import SweepProgress
    from dmlray.cli.report import PAGE, sweep_page
    from dmlray.cluster import ray_cluster
    from dmlray.ensemble.live import LiveEnsemble, LiveUpdates
    from dmlray.ensemble.live_steps import LIVE_FILE
    from dmlray.sweep.fetching import fetch_trial
    from dmlray.sweep.mirror import SweepMirror
    from dmlray.sweep.session import run_sweep
    from dmlray.sweep.settings import load_settings

    trials = {trial.number: trial for trial in _read(folder)}
    with (
        SweepProgress(to_stderr(), is_verbose()) as progress,
        closing(LiveUpdates(LiveEnsemble(folder.path / LIVE_FILE), partial(fetch_trial, folder, config))) as live,
        SweepMirror(config, partial(_read, folder), progress.warn, live.so_far) as mirror,
    ):
        onlookers = Onlookers(config, trials, progress, live, mirror)
        if retry_failed or not _summary(config, trials).is_over:
            progress.say(f"sweep {config.name}: {config.trials} trials in {folder.path}; starting Ray")
            cluster = ray_cluster(address, insecure=insecure)
            run_sweep(folder, config, [onlookers.on_change], progress.say, cluster, retry_failed)
            config = load_settings(folder)
            live.close()
        mirror.settle(config)
        page = folder.path / PAGE if sweep_page(folder, progress.warn) else None
        if page is not None:
            mirror.attach(page)
    _print_end(folder, config, trials)
    if so_far := live.so_far():
        note(f"best small ensemble so far: {so_far.description}")
    if page is not None:
        note(f"report: {page}")
    note(f"next: dmlray ensemble {folder.as_typed} --top 5")


def _read(folder: "SweepFolder") -> "list[TrialRecord]":
    from contextlib import closing

    from dmlray.sweep.study import Study

    with closing(Study.open(folder.study, read_only=True)) as study:
        return study.trials()


def _summary(config: "SweepConfig", trials: "Mapping[int, TrialRecord]") -> "Summary":
    from dmlray.sweep.settings import wanted
    from dmlray.sweep.summary import summarize

    return summarize(list(trials.values()), wanted(config, list(trials.values())))


def _print_end(folder: "SweepFolder", config: "SweepConfig", trials: "Mapping[int, TrialRecord]") -> None:
    from dmlray.cli.configurations import print_configurations
    from dmlray.cli.progress import summary_line
    from dmlray.cli.view import print_top
    from dmlray.sweep.settings import end_of

    summary = _summary(config, trials)
    note(f"ended by {end_of(config, list(trials.values()))}: {summary_line(summary)}")
    if summary.best is None:
        failed = (f"; trial {one.number} ended as {one.reason}: {one.message}" for one in trials.values() if one.reason)
        raise DmlrayError(f"no trial succeeded{next(failed, '')}")
    print_top(folder, 5)
    print_configurations(folder, list(trials.values()))


def _complete(trials: "Iterable[TrialRecord]") -> list[int]:
    """Numbers of the finished trials, in the order in which they finished."""
    finished = [trial for trial in trials if trial.state.name == "complete" and trial.finished]
    return [trial.number for trial in sorted(finished, key=lambda trial: (trial.finished, trial.number))]
