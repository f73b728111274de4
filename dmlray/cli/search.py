"""`dmlray search`: run a sweep, or go on with one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dmlray.cli.options import DEFAULT_RESULTS, Address, Results, Tracking
from dmlray.errors import DmlrayError, UsageError

if TYPE_CHECKING:
    from dmlray.sweep.settings import SweepConfig, SweepFolder


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command()(search)


def search(
    data: Annotated[
        Path | None, typer.Option(help="A converted data set: a folder of train/, validation/, test/.")
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="TFRecords to train on as they are: a folder or glob, also s3://, gs://."),
    ] = None,
    space: Annotated[Path | None, typer.Option(help="The search space, a YAML file.")] = None,
    name: Annotated[str | None, typer.Option(help="What to call the sweep; it lives in RESULTS/NAME.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="NAME", help="Go on with a sweep, or extend it.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many trials in all (default: the space's).")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed, the same suggestions (default: 0).")] = None,
    sampler: Annotated[Literal["tpe", "random"] | None, typer.Option(help="What suggests (default: tpe).")] = None,
    cpus_per_trial: Annotated[
        float | None, typer.Option(min=0.1, help="Also its threads (default: 1 a worker).")
    ] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(min=0.0, help="Fractions share a GPU (default: 0).")] = None,
    workers_per_trial: Annotated[
        int | None, typer.Option(min=1, help="Processes that share a trial, its CPUs and GPUs (default: 1).")
    ] = None,
    trial_seconds: Annotated[float | None, typer.Option(min=1, help="End a trial that takes longer.")] = None,
    stall_seconds: Annotated[
        float | None, typer.Option(min=1, help="End a trial that does no batch for so long (default: 1800).")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Trials at once (default: as many as fit).")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Change the space, e.g. space.epochs=3.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Keep the study in PostgreSQL: postgresql://user@host/database."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With --resume: try the failed trials again.")
    ] = False,
    address: Address = None,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
) -> None:
    """Search for the models with the best GAP@20.

    Example: dmlray search --data results/data/tfrecords --space search_spaces/smoke.yaml --name first

    With --stream, training videos come straight from TFRecords and DATA needs only validation/ (and test/).

    Ctrl-C leaves a sweep that `dmlray search --resume NAME` finishes; --resume NAME --trials N extends a finished one.
    """
    from dmlray.sweep.settings import SweepFolder, load_settings, resumed

    resources = {
        "workers_per_trial": workers_per_trial,
        "cpus_per_trial": cpus_per_trial,
        "gpus_per_trial": gpus_per_trial,
        "concurrency": concurrency,
        "trial_seconds": trial_seconds,
        "stall_seconds": stall_seconds,
    }
    if resume is not None:
        fixed = {
            "--data": data,
            "--stream": stream,
            "--space": space,
            "--name": name,
            "--seed": seed,
            "--sampler": sampler,
            "--set": overrides,
            "--storage": storage,
        }
        if given := [option for option, value in fixed.items() if value is not None and value != []]:
            raise UsageError(f"{given[0]} was settled when sweep {resume} began; leave it out with --resume")
        folder = SweepFolder(results, resume)
        config = resumed(load_settings(folder), trials, resources, tracking_uri)
        _run(folder, config, address, retry_failed)
        return
    if retry_failed:
        raise UsageError("--retry-failed goes with --resume NAME")
    if data is None or space is None or name is None:
        raise UsageError("a new sweep needs --data, --space and --name (or --resume NAME)")

    from dmlray.sweep.session import create_sweep, discarded_unless_started, new_config
    from dmlray.sweep.space import load_space
    from dmlray.tracking import default_uri

    loaded = load_space(space, [_override(text) for text in overrides or ()])
    config = new_config(
        name, data, loaded, trials, seed or 0, sampler or "tpe", resources, tracking_uri or default_uri(results), stream
    )
    folder = create_sweep(results, config, loaded, storage)
    with discarded_unless_started(folder):
        _run(folder, config, address)


def _override(text: str) -> tuple[str, str]:
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise UsageError(f"--set takes A.B=C, for example --set space.epochs=3, got {text!r}")
    return path, value


def _run(folder: "SweepFolder", config: "SweepConfig", address: str | None, retry_failed: bool = False) -> None:
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
        if not summary().is_over or retry_failed:
            progress.say(f"sweep {config.name}: {config.trials} trials in {folder.path}; starting Ray")
            run_sweep(folder, config, [on_change], progress.say, ray_cluster(address), retry_failed)
    console.print(summary_line(summary()), soft_wrap=True)
    if summary().best is None:
        first = next(trial for trial in trials.values() if trial.reason)
        raise DmlrayError(f"no trial succeeded; trial {first.number} ended as {first.reason}: {first.message}")
    print_top(folder, 5)
    console.print(f"next: dmlray ensemble {folder.as_typed} --top 5", soft_wrap=True)
