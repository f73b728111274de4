"""`dmlray ensemble`: from a sweep's trials to the best small ensemble."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dmlray.cli.console import note
from dmlray.cli.options import DEFAULT_RESULTS, Json, Name, Results, answer
from dmlray.errors import UsageError

if TYPE_CHECKING:
    from dmlray.ensemble.report import EnsembleReport


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command()(ensemble)


def ensemble(
    name: Name,
    top: Annotated[int, typer.Option(help="At most this many members.")] = 5,
    size: Annotated[int, typer.Option(help="Picks of the greedy selection; a member can be picked again.")] = 25,
    weights: Annotated[
        Literal["gap", "count", "uniform", "optimised"], typer.Option(help="How picks become weights.")
    ] = "gap",
    scale: Annotated[
        Literal["temperature", "none"], typer.Option(help="Put members' scores on one scale first, or leave them.")
    ] = "temperature",
    bags: Annotated[int, typer.Option(help="Pool this many selections, each of half the trials; 0: one of all.")] = 0,
    max_mb: Annotated[
        float | None, typer.Option(help="Parameters of all members together, as stored (the 2018 challenge: 1000).")
    ] = None,
    max_ms_per_video: Annotated[
        float | None, typer.Option(help="CPU time of all members together, on one core of this machine.")
    ] = None,
    precision: Annotated[
        Literal["float32", "float16", "int8"], typer.Option(help="How members are stored; what that costs is told.")
    ] = "float32",
    front: Annotated[
        bool, typer.Option("--front", help="Also show the GAP that less memory or time would buy.")
    ] = False,
    from_stores: Annotated[
        bool, typer.Option("--from-stores", help="Measure on the stored 50 best classes alone; no model is run.")
    ] = False,
    report_split: Annotated[float, typer.Option(help="Share of validation videos kept from the selection.")] = 0.5,
    members: Annotated[
        list[Path] | None,
        typer.Option(
            "--member", metavar="PREDICTIONS", help="Validation predictions from elsewhere: Kaggle's CSV, Arrow."
        ),
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(help="Names of the classes for the package: a CSV with Index and Name.")
    ] = None,
    publish: Annotated[bool, typer.Option("--publish", help="Also register it, see `dmlray publish`.")] = False,
    save_as: Annotated[str | None, typer.Option("--as", help="The ensemble's own name (default: top<TOP>).")] = None,
    as_json: Json = False,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Choose the best ensemble of a sweep's finished trials, and say how much better it is.

    Example: dmlray ensemble first --top 5
    """
    from contextlib import closing

    from dmlray.data.dataset import open_splits
    from dmlray.ensemble.candidates import load_candidates
    from dmlray.ensemble.choice import EnsembleSettings
    from dmlray.ensemble.dense import DenseBlender
    from dmlray.ensemble.report import save_ensemble
    from dmlray.ensemble.runs import ensemble_run
    from dmlray.ensemble.scoring import best_device
    from dmlray.ensemble.search import Limits, search_ensemble
    from dmlray.registry.export import discard_package, export_package
    from dmlray.registry.outside import load_outside
    from dmlray.registry.vocabulary import read_vocabulary
    from dmlray.sweep.records import TrialState
    from dmlray.sweep.runs import label
    from dmlray.sweep.settings import SweepFolder, check_name, load_settings
    from dmlray.sweep.study import Study
    from dmlray.tracking import Tracker

    settings = EnsembleSettings(top, size, weights, scale, bags, report_split, precision=precision)
    settings.check()
    folder = SweepFolder(results, name)
    config = load_settings(folder)
    if config.refit is not None:
        raise UsageError(f"sweep {config.name} was trained on the validation videos: nothing can be chosen by them")
    with closing(Study.open(folder.study, read_only=True)) as study:
        finished = [trial for trial in study.trials() if trial.state is TrialState.complete]
    candidates = load_candidates((t.number, label(t), folder.trial(t.number)) for t in finished)
    splits = open_splits(config.data, train=False)
    candidates += load_outside(members or (), splits["validation"])
    names = read_vocabulary(vocabulary, splits["validation"].schema.classes) if vocabulary else None
    timed = front or max_mb is not None or max_ms_per_video is not None
    limits = Limits(max_mb, max_ms_per_video, splits["validation"] if timed else None)
    blender = None if from_stores or members else DenseBlender(splits, config.seed, best_device())
    found = search_ensemble(candidates, settings, limits, blender)
    own_name = check_name(save_as or f"top{top}", "--as")
    directory = folder.ensemble(own_name)
    discard_package(directory)
    save_ensemble(directory, found.report, found.validation, found.test)
    has_outside = any(member.trial < 0 for member in found.report.members)
    if not has_outside:
        export_package(folder, own_name, names)
    Tracker(config.tracking_uri, "dmlray").sync([ensemble_run(config, own_name, found.report, directory)])
    if as_json:
        answer({"version": 1, "sweep": name, "ensemble": own_name, **found.report.model_dump(mode="json")})
    else:
        _print(found.report)
        print(f"saved in {directory}")
        if has_outside:
            print("not packaged: of the members with negative numbers there are only predictions")
    if publish:
        from dmlray.cli.publish import publish_ensemble, sentence

        note(sentence(publish_ensemble(folder, own_name)))


def _print(report: "EnsembleReport") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    heads = ("trial", "GAP", "weight", "picks", "gain", "without", "model")
    members = Table(*heads, box=box.SIMPLE_HEAD, title="members")
    for member in report.members:
        cells = [f"{member.gap:.4f}", f"{member.weight:.4f}", str(member.picks), f"{member.gain:+.4f}"]
        cells.append("" if member.leave_one_out is None else f"{-member.leave_one_out:+.4f}")
        members.add_row(str(member.trial), *cells, member.name)
    parts = [f"{part} ({count:,})" for part, count in report.videos.items()]
    ways = Table("GAP@20 on (videos)", "members", *parts, box=box.SIMPLE_HEAD, title="ways to combine")
    for way, figures in report.figures.items():
        values = (figures.selection, figures.report, figures.test)
        halves = (None, figures.half_width(figures.report_interval), figures.half_width(figures.test_interval))
        ways.add_row(way, str(figures.members), *map(_with_half, values, halves))
    front = Table("GAP (selection)", "MB", "ms a video", "trials", box=box.SIMPLE_HEAD, title="less memory or time")
    for point in report.front:
        trials = ", ".join(map(str, point.trials))
        front.add_row(f"{point.gap:.4f}", f"{point.mb:,.2f}", f"{point.ms_per_video:.3f}", trials)
    console.print(members)
    console.print(ways)
    if report.front:
        console.print(front)
    for sentence in (report.summary, *report.notes):
        console.print(sentence)


def _with_half(value: float | None, half: float | None) -> str:
    return "" if value is None else f"{value:.4f}" + ("" if half is None else f" ±{half:.4f}")
