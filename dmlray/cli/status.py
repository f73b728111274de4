"""`dmlray status`: how far a sweep has come, once or as it goes on."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from dmlray.cli.options import DEFAULT_RESULTS, Insecure, Json, Name, Results, answer
from dmlray.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dmlray.sweep.director import Change
    from dmlray.sweep.records import TrialRecord
    from dmlray.sweep.settings import SweepConfig, SweepFolder
    from dmlray.sweep.study import Study
    from dmlray.sweep.summary import Summary

LOOK_S = 2.0


def register(app: typer.Typer) -> None:
    """Add this module's command to the app."""
    app.command()(status)


def status(
    name: Name,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Keep looking until the sweep stops; Ctrl-C ends only the looking.")
    ] = False,
    address: Annotated[
        str | None, typer.Option("--address", help="Ask a cluster, by its dashboard: http://127.0.0.1:8265.")
    ] = None,
    insecure: Insecure = False,
    as_json: Json = False,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Say how far a sweep has come.

    Example: dmlray status first --watch

    --watch shows the trials that run on a terminal, and prints one line per event elsewhere or from a cluster.
    """
    from dmlray.sweep.settings import SweepFolder, load_settings
    from dmlray.sweep.study import Study

    if watch and as_json:
        raise UsageError("--watch is for people: programs ask again and again with --json")
    if address is not None:
        from dmlray.cli.submit import remote_status, remote_watch

        if watch:
            remote_watch(name, address, insecure, results)
        else:
            remote_status(name, as_json, address, insecure, results)
        return
    folder = SweepFolder(results, name)
    config = load_settings(folder)
    with closing(Study.open(folder.study, read_only=True)) as study:
        if watch:
            with suppress(KeyboardInterrupt):
                _watch(folder, study)
        view = _look(config, study)
    if as_json:
        answer(_document(name, view))
    else:
        _print(folder, view)


@dataclass(frozen=True)
class View:
    """A sweep at one moment; ``state`` is finished, running or interrupted."""

    trials: "Sequence[TrialRecord]"
    summary: "Summary"
    state: str
    ended_by: str | None


def news(before: "Mapping[int, TrialRecord]", trials: "Sequence[TrialRecord]") -> "Iterator[Change]":
    """What has happened to ``trials`` since they were as in ``before``: each one's newest epoch and its new state."""
    from dmlray.sweep.director import Change
    from dmlray.sweep.records import TrialState

    for trial in trials:
        old = before.get(trial.number)
        if trial.state is TrialState.running and (old is None or old.attempts < trial.attempts):
            yield Change("continued" if trial.attempts > 1 else "started", trial)
        if trial.curve and not trial.state.is_finished and (old is None or len(old.curve) < len(trial.curve)):
            yield Change("epoch", trial)
        if trial.state.is_finished and (old is None or old.state is not trial.state):
            yield Change(trial.state.value, trial)


def _watch(folder: "SweepFolder", study: "Study") -> None:
    from rich.console import Console
    from rich.live import Live

    from dmlray.cli.progress import event_line
    from dmlray.sweep.settings import load_settings

    console, seen = Console(highlight=False), dict[int, "TrialRecord"]()
    view = _look(load_settings(folder), study)
    live = Live(_board(folder, view), console=console, transient=True) if console.is_terminal else None
    with live or nullcontext():
        while view.state == "running":
            if live is not None:
                live.update(_board(folder, view))
            else:
                for change in news(seen, view.trials):
                    print(event_line(change), flush=True)
            seen = {trial.number: trial for trial in view.trials}
            time.sleep(LOOK_S)
            view = _look(load_settings(folder), study)
    if live is None and seen:
        for change in news(seen, view.trials):
            print(event_line(change), flush=True)


def _look(config: "SweepConfig", study: "Study") -> View:
    from dmlray.sweep.settings import end_of, wanted
    from dmlray.sweep.summary import summarize

    trials = study.trials()
    summary = summarize(trials, wanted(config, trials))
    state = "finished" if summary.is_over else "running" if study.is_driven() else "interrupted"
    return View(trials, summary, state, end_of(config, trials))


def _board(folder: "SweepFolder", view: View) -> "RenderableType":
    """The trials that run, where the sweep stands, and the ensemble so far."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from dmlray.cli.progress import summary_line
    from dmlray.sweep.records import TrialState
    from dmlray.sweep.runs import label

    table = Table("trial", "epoch", "val GAP", "model", box=box.SIMPLE_HEAD)
    for trial in view.trials:
        if trial.state is TrialState.running:
            epoch = trial.curve[-1][0] if trial.curve else 0
            gap = f"{trial.best_so_far:.4f}" if trial.best_so_far is not None else ""
            table.add_row(str(trial.number), f"{epoch}/{trial.config['epochs']}", gap, label(trial))
    return Group(table, Text(summary_line(view.summary)), *map(Text, _ensemble(folder)))


def _ensemble(folder: "SweepFolder") -> list[str]:
    """A line about the ensemble that trials have brought so far; none where there is none."""
    from dmlray.ensemble.live_steps import LIVE_FILE, describe_live, read_live

    steps = read_live(folder.path / LIVE_FILE)
    return [f"best small ensemble so far: {describe_live(steps)}"] if steps else []


def _document(name: str, view: View) -> dict[str, object]:
    """Stable: keys are added, never changed or taken away, while ``version`` is 1."""
    from dmlray.cli.view import trial_row

    counts = {key: getattr(view.summary, key) for key in ("wanted", "complete", "pruned", "failed", "running")}
    head = {"version": 1, "sweep": name, "state": view.state, "ended_by": view.ended_by}
    return {**head, **counts, "left_s": view.summary.left_s, "trials": [trial_row(trial) for trial in view.trials]}


def _print(folder: "SweepFolder", view: View) -> None:
    from dmlray.cli.progress import summary_line

    reason = f" by {view.ended_by}" if view.state == "finished" else ""
    print(f"{folder.path.name}: {view.state}{reason}; {summary_line(view.summary)}")
    for line in _ensemble(folder):
        print(line)
    for trial in view.trials:
        if trial.reason:
            print(f"  trial {trial.number} failed, {trial.reason}: {trial.message}")
    if view.state == "interrupted":
        print(f"go on with: dmlray search --resume {folder.as_typed}")
