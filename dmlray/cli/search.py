"""`dmlray search`: run a sweep, or go on with one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dmlray.cli.options import DEFAULT_RESULTS, Address, Results, Tracking
from dmlray.errors import DmlrayError, UsageError

DEFAULT_TRIALS = 20

if TYPE_CHECKING:
    from dmlray.sweep.settings import SweepConfig, SweepFolder


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command()(search)


def search(
    data: Annotated[
        Path | None, typer.Option(help="A converted data set: a folder of train/, validation/, test/.")
    ] = None,
    space: Annotated[Path | None, typer.Option(help="The search space, a YAML file.")] = None,
    name: Annotated[str | None, typer.Option(help="What to call the sweep; it lives in RESULTS/NAME.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="NAME", help="Go on with an interrupted sweep.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many trials (default: as the space says).")] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same suggestions.")] = 0,
    sampler: Annotated[Literal["tpe", "random"], typer.Option(help="How trials are suggested.")] = "tpe",
    cpus_per_trial: Annotated[float, typer.Option(min=0.1, help="CPUs of each trial, also its threads.")] = 1.0,
    gpus_per_trial: Annotated[float, typer.Option(min=0.0, help="GPUs of each trial; fractions share one.")] = 0.0,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Trials at once (default: as many as fit).")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change the space, e.g. space.epochs=3.")
    ] = None,
    address: Address = None,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
) -> None:
    """Search for the models with the best GAP@20.

    Example: dmlray search --data results/data/yt8m --space search_spaces/video_level.yaml --trials 8 --name first

    Ctrl-C leaves a sweep that `dmlray search --resume NAME` finishes.
    """
    from dmlray.sweep.settings import Resources, SweepConfig, SweepFolder, check_name, load_settings

    if resume is not None:
        if data or space or name or overrides:
            raise UsageError("--resume takes the data, space and name that the sweep was started with; leave them out")
        folder = SweepFolder(results, resume)
        _run(folder, load_settings(folder), address)
        return
    if data is None or space is None or name is None:
        raise UsageError("a new sweep needs --data, --space and --name (or --resume NAME)")

    from dmlray.data.dataset import open_splits
    from dmlray.sweep.session import create_sweep
    from dmlray.sweep.space import load_space
    from dmlray.tracking import default_uri

    loaded = load_space(space, [_override(text) for text in overrides or ()])
    splits = open_splits(data)
    config = SweepConfig(
        name=check_name(name),
        data=data.absolute(),
        fingerprints={split: dataset.fingerprint for split, dataset in splits.items()},
        trials=trials or loaded.trials or DEFAULT_TRIALS,
        seed=seed,
        sampler=sampler,
        resources=Resources(cpus_per_trial=cpus_per_trial, gpus_per_trial=gpus_per_trial, concurrency=concurrency),
        tracking_uri=tracking_uri or default_uri(results),
    )
    _run(create_sweep(results, config, loaded), config, address)


def _override(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise UsageError(f"--set takes A.B=C, for example --set space.epochs=3, got {text!r}")
    return path, value


def _run(folder: "SweepFolder", config: "SweepConfig", address: str | None) -> None:
    from contextlib import closing

    from rich.console import Console

    from dmlray.cli.progress import SweepProgress, summary_line
    from dmlray.cli.view import print_top
    from dmlray.cluster import ray_cluster
    from dmlray.sweep.director import Change
    from dmlray.sweep.mirror import SweepMirror
    from dmlray.sweep.session import run_sweep
    from dmlray.sweep.study import Study
    from dmlray.sweep.summary import Summary, summarize

    with closing(Study.open(folder.study, read_only=True)) as study:
        trials = {trial.number: trial for trial in study.trials()}

    def summary() -> Summary:
        return summarize(list(trials.values()), config.trials)

    def on_change(change: Change) -> None:
        trials[change.trial.number] = change.trial
        progress.show(change, summary())
        mirror.update(change.trial)

    console = Console(stderr=True, highlight=False)
    with SweepProgress(console) as progress, SweepMirror(config, list(trials.values()), progress.say) as mirror:
        if not summary().is_over:
            progress.say(f"sweep {config.name}: {config.trials} trials in {folder.path}; starting Ray")
            with ray_cluster(address):
                run_sweep(folder, config, [on_change], progress.say)
    console.print(summary_line(summary()), soft_wrap=True)
    if summary().best is None:
        first = next(trial for trial in trials.values() if trial.reason)
        raise DmlrayError(f"no trial succeeded; trial {first.number} ended as {first.reason}: {first.message}")
    print_top(folder, 5)
    console.print(f"next: dmlray ensemble {config.name} --top 5", soft_wrap=True)
