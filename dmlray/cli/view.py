"""`dmlray top` and `ui`: look at sweeps."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dmlray.cli.options import DEFAULT_RESULTS, Json, Name, Results, Tracking, answer

if TYPE_CHECKING:
    from dmlray.sweep.records import TrialRecord
    from dmlray.sweep.settings import SweepFolder


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command()(top)
    app.command()(ui)


def top(
    name: Name,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many trials to show.")] = 10,
    as_json: Json = False,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Show a sweep's best trials.

    Example: dmlray top first -n 5
    """
    from dmlray.sweep.settings import SweepFolder
    from dmlray.sweep.summary import ranking

    folder = SweepFolder(results, name)
    if as_json:
        trials = _read(folder)
        answer({"version": 1, "sweep": name, "trials": [trial_row(trial) for trial in ranking(trials)[:count]]})
    else:
        print_top(folder, count)


def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the page is served.")] = 5000,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
) -> None:
    """Start the MLflow UI on the sweeps' store, on this machine only, until Ctrl-C.

    Example: dmlray ui --port 5001
    """
    import subprocess

    from dmlray.tracking import default_uri, ui_command

    uri = tracking_uri or default_uri(results)
    print(f"MLflow on http://127.0.0.1:{port} over {uri}; Ctrl-C ends it", file=sys.stderr)
    print("there: Model training (top left), then Experiments, dmlray", file=sys.stderr)
    raise typer.Exit(subprocess.call(ui_command(uri, "127.0.0.1", port)))


def print_top(folder: "SweepFolder", count: int) -> None:
    """A table of the best ``count`` trials, 80 columns wide at most where names allow."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dmlray.sweep.summary import ranking

    trials = _read(folder)
    table = Table("trial", "state", "val GAP", "test GAP", "epochs", "time", "model", box=box.SIMPLE_HEAD)
    for column in table.columns[2:6]:
        column.justify = "right"
    for trial in ranking(trials)[:count]:
        row = trial_row(trial)
        figures = [f"{row[key]:.4f}" if row[key] is not None else "" for key in ("val_gap", "test_gap")]
        table.add_row(
            str(row["trial"]), row["state"], *figures, str(row["epochs"]), f"{row['train_s']:.0f} s", row["model"]
        )
    console = Console(highlight=False)
    console.print(table if table.row_count else f"{folder.path}: no trial has reported yet")


def _read(folder: "SweepFolder") -> "list[TrialRecord]":
    """Raises MissingInputError where there is no sweep."""
    from contextlib import closing

    from dmlray.sweep.settings import load_settings
    from dmlray.sweep.study import Study

    load_settings(folder)
    with closing(Study.open(folder.study, read_only=True)) as study:
        return study.trials()


def trial_row(trial: "TrialRecord") -> dict[str, Any]:
    """A trial in the JSON documents of `top` and `status`."""
    from dmlray.sweep.runs import label
    from dmlray.sweep.summary import duration_s

    return {
        "trial": trial.number,
        "name": trial.name,
        "state": trial.state.value,
        "val_gap": trial.best_so_far,
        "test_gap": trial.metrics.get("test_gap"),
        "epochs": trial.curve[-1][0] if trial.curve else 0,
        "train_s": duration_s(trial) or 0.0,
        "model": label(trial),
        "params": trial.params,
        "reason": trial.reason,
        "message": trial.message,
        "attempts": trial.attempts,
        "retries": trial.retries,
    }
