"""`dmlray ensemble`: from a sweep's trials to the best small ensemble."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dmlray.cli.console import note, warn
from dmlray.cli.options import DEFAULT_RESULTS, Json, Name, Results, answer
from dmlray.errors import UsageError

if TYPE_CHECKING:
    from dmlray.data.dataset import Dataset
    from dmlray.ensemble.candidates import Candidate
    from dmlray.ensemble.choice import EnsembleSettings
    from dmlray.ensemble.report import EnsembleReport
    from dmlray.ensemble.search import EnsembleResult, Limits
    from dmlray.sweep.settings import SweepConfig, SweepFolder


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
        bool, typer.Option("--from-stores", help="Measure on the stored 50 best classes alone; no member is run.")
    ] = False,
    report_split: Annotated[float, typer.Option(help="Share of validation videos kept from the selection.")] = 0.5,
    members: Annotated[
        list[Path] | None,
        typer.Option(
            "--member", metavar="PREDICTIONS", help="Validation predictions from elsewhere: Kaggle's CSV, Arrow."
        ),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option("--also", metavar="SWEEP", help="Let another sweep's finished trials join: of the same data."),
    ] = None,
    snapshots: Annotated[
        bool,
        typer.Option(
            "--snapshots", help="Also let other models of each trial join: further checkpoints, and what averages hide."
        ),
    ] = False,
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
    from dmlray.cli.ensemble_tables import print_ensemble
    from dmlray.data.dataset import open_splits
    from dmlray.ensemble.choice import EnsembleSettings
    from dmlray.ensemble.search import Limits
    from dmlray.registry.vocabulary import read_vocabulary
    from dmlray.sweep.settings import SweepFolder, check_name, load_settings

    settings = EnsembleSettings(top, size, weights, scale, bags, report_split, precision=precision)
    settings.check()
    own_name = check_name(save_as or f"top{top}", "--as")
    folder = SweepFolder(results, name)
    config = load_settings(folder)
    if config.refit is not None:
        raise UsageError(f"sweep {config.name} was trained on the validation videos: nothing can be chosen by them")
    splits = open_splits(config.data, train=False)
    names = read_vocabulary(vocabulary, splits["validation"].schema.classes) if vocabulary else None
    timed = front or max_mb is not None or max_ms_per_video is not None
    limits = Limits(max_mb, max_ms_per_video, splits["validation"] if timed else None)
    others = _others(folder, config, also or ())
    found = _choose(folder, config, splits, settings, limits, others, members or (), from_stores, snapshots)
    is_packaged = _save(folder, own_name, found, names)
    if as_json:
        answer({"version": 1, "sweep": name, "ensemble": own_name, **found.report.model_dump(mode="json")})
    else:
        print_ensemble(found.report)
        print(f"saved in {folder.ensemble(own_name)}")
        if not is_packaged:
            print("not packaged: of the members with negative numbers there are only predictions")
    _log(folder, config, own_name, found.report)
    if publish:
        from dmlray.cli.publish import publish_ensemble, sentence

        note(sentence(publish_ensemble(folder, own_name)))


def _choose(
    folder: "SweepFolder",
    config: "SweepConfig",
    splits: "Mapping[str, Dataset]",
    settings: "EnsembleSettings",
    limits: "Limits",
    others: "Sequence[SweepFolder]",
    outside: Sequence[Path],
    from_stores: bool,
    snapshots: bool,
) -> "EnsembleResult":
    """Among the finished trials, also those of ``others``, and predictions from ``outside``, of which no model is."""
    from dmlray.ensemble.dense import DenseBlender
    from dmlray.ensemble.scoring import best_device
    from dmlray.ensemble.search import search_ensemble
    from dmlray.ensemble.sweeps import joining
    from dmlray.registry.outside import load_outside
    from dmlray.sweep.settings import load_settings

    candidates = _candidates(folder, config, splits, snapshots)
    for place, other in enumerate(others):
        theirs = load_settings(other)
        candidates += joining(_candidates(other, theirs, splits, snapshots), place, theirs.seed)
    candidates += load_outside(outside, splits["validation"])
    blender = None if from_stores or outside else DenseBlender(splits, config.seed, best_device())
    return search_ensemble(candidates, settings, limits, blender, [other.path.name for other in others])


def _candidates(
    folder: "SweepFolder", config: "SweepConfig", splits: "Mapping[str, Dataset]", snapshots: bool
) -> "list[Candidate]":
    """A sweep's finished trials, and if wanted the other models that are left of them."""
    from dmlray.cli.console import Bar
    from dmlray.ensemble.scoring import best_device
    from dmlray.ensemble.sweeps import finished_trials, snapshot_candidates

    trials = finished_trials(folder)
    candidates = [own for _, own in trials]
    if snapshots:
        with Bar(f"snapshots of {config.name}", "trials") as bar:
            more = list(snapshot_candidates(trials, splits, config.seed, best_device(), bar.update))
        if candidates and not more:
            warn(f"sweep {config.name} has no snapshots: its trials keep more with `snapshots: 3` in the space")
        candidates += more
    return candidates


def _others(folder: "SweepFolder", config: "SweepConfig", names: Sequence[str]) -> "list[SweepFolder]":
    """The sweeps ``names``. Raises UsageError for one of other validation videos, or that was trained on these."""
    from dmlray.sweep.settings import SweepFolder, check_name, load_settings

    for name in names:
        check_name(name, "--also")
    if twice := [name for place, name in enumerate(names) if name in (folder.path.name, *names[:place])]:
        raise UsageError(f"--also {twice[0]}: that sweep's trials are candidates already")
    others = [SweepFolder(folder.path.parent, name) for name in names]
    for other in others:
        theirs = load_settings(other)
        if theirs.refit is not None:
            raise UsageError(f"sweep {theirs.name} was trained on the validation videos: nothing can be chosen by them")
        if theirs.fingerprints.get("validation") != config.fingerprints.get("validation"):
            raise UsageError(f"sweep {theirs.name} has other validation videos than {config.name}")
    return others


def _save(folder: "SweepFolder", name: str, found: "EnsembleResult", vocabulary: Sequence[str] | None) -> bool:
    """Write the ensemble and its package; False where there can be none, as of a member there are only predictions."""
    from dmlray.ensemble.report import save_ensemble
    from dmlray.registry.export import discard_package, export_package

    directory = folder.ensemble(name)
    discard_package(directory)
    save_ensemble(directory, found.report, found.validation, found.test)
    if any(member.trial < 0 for member in found.report.members):
        return False
    export_package(folder, name, vocabulary)
    return True


def _log(folder: "SweepFolder", config: "SweepConfig", name: str, report: "EnsembleReport") -> None:
    """The ensemble's run, and in that of its sweep the report that now tells of it: both can be had again."""
    from dmlray.cli.report import PAGE, page_run, sweep_page
    from dmlray.ensemble.runs import ensemble_run
    from dmlray.errors import UnavailableError
    from dmlray.tracking import Tracker

    runs = [ensemble_run(config, name, report, folder.ensemble(name))]
    if (content := sweep_page(folder, warn)) is not None:
        runs.append(page_run(content, folder.path / PAGE))
        note(f"report: {folder.path / PAGE}")
    try:
        Tracker(config.tracking_uri, "dmlray").sync(runs)
    except UnavailableError as error:
        warn(f"the ensemble is not in MLflow, the same command sends it again: {error}")
