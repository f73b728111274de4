"""`dmlray search`: run a sweep, or go on with one."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dmlray.cli.options import (
    DEFAULT_RESULTS,
    Address,
    Insecure,
    Results,
    StoragePath,
    Tracking,
    TrialCount,
    sweeps_there,
)
from dmlray.errors import UsageError
from dmlray.sweep.names import SamplerName, StoppingName

if TYPE_CHECKING:
    from dmlray.cli.begin import Anew, Asked


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command()(search)


def search(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="SPACE", help="The search space, a YAML file; it can name the data.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="A converted data set: train/, validation/, test/; also s3://, gs://."),
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="TFRecords or Arrow shards to train on where they are, also s3://, gs://."),
    ] = None,
    space: Annotated[Path | None, typer.Option(help="The search space, if it does not stand first.")] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call the sweep in RESULTS/NAME (default: as the space's file).")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Go on with a sweep, or extend it.", autocompletion=sweeps_there),
    ] = None,
    trials: Annotated[
        TrialCount | None,
        typer.Option(
            parser=TrialCount.parse, metavar="N|+N", help="How many in all (default: the space's); +N: so many more."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed, the same suggestions (default: 0).")] = None,
    sampler: Annotated[SamplerName | None, typer.Option(help="What suggests (default: tpe).")] = None,
    grid: Annotated[
        bool, typer.Option("--grid", help="Train the named configurations and all combinations of choices.")
    ] = False,
    stopping: Annotated[StoppingName | None, typer.Option(help="What stops early (default: the space's).")] = None,
    hours: Annotated[float | None, typer.Option(min=1e-4, help="Begin no trial after so long.")] = None,
    gpu_hours: Annotated[float | None, typer.Option(min=1e-4, help="Begin no trial after so much training.")] = None,
    min_gain: Annotated[
        float | None, typer.Option(min=1e-9, max=0.5, help="End when 10 more trials promise less GAP than this.")
    ] = None,
    source: Annotated[str | None, typer.Option("--from", metavar="NAME", help="Learn from another sweep too.")] = None,
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
    storage_path: StoragePath = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="With --resume: try the failed trials again.")
    ] = False,
    replay: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Compare strategies on a sweep's recorded curves; nothing is trained."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="With --replay: seeds of each (default: 10).")] = None,
    gaps: Annotated[
        list[float] | None, typer.Option("--gap", help="With --replay: also what it takes to reach this GAP.")
    ] = None,
    submit: Annotated[
        bool, typer.Option("--submit", help="Have the cluster run it whose dashboard is at --address http://…:8265.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --replay: answer with one JSON document.")] = False,
    address: Address = None,
    insecure: Insecure = False,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
) -> None:
    """Search for the models with the best GAP@20.

    \b
    Example: dmlray search search_spaces/smoke.yaml \\
        --data results/data/tfrecords --name first

    With --stream, training videos are read from TFRecords or Arrow shards and DATA needs only validation/ (and test/).

    Ctrl-C leaves a sweep that `dmlray search --resume NAME` finishes; --resume NAME --trials +20 extends it.

    `dmlray search --replay NAME` takes --sampler, --stopping, --trials, --seeds, --gap, --concurrency and --json.

    With --submit, paths of data and results are the cluster's; Ctrl-C then ends the following alone, not the sweep.
    """
    from dmlray.cli.begin import Anew, Asked, begin, go_on

    if file is not None and space is not None:
        raise UsageError(f"the space is given twice, {file} and --space {space}: give one of them")
    new = Anew(
        data, stream, file or space, name, seed, sampler, grid, stopping, source, tuple(overrides or ()), storage
    )
    resources = {
        "workers_per_trial": workers_per_trial,
        "cpus_per_trial": cpus_per_trial,
        "gpus_per_trial": gpus_per_trial,
        "concurrency": concurrency,
        "trial_seconds": trial_seconds,
        "stall_seconds": stall_seconds,
    }
    budget = {"hours": hours, "gpu_hours": gpu_hours, "min_gain": min_gain}
    job = context if submit else None
    asked = Asked(results, trials, resources, budget, tracking_uri, storage_path, address, insecure, job)
    if replay is not None:
        others = {"--resume": resume, "--retry-failed": retry_failed or None}
        _refuse_beside_replay(new, asked, others)
        _replay(asked, replay, sampler, stopping, seeds, gaps, as_json)
        return
    _refuse({"--seeds": seeds, "--gap": gaps or None, "--json": as_json or None}, "goes with --replay NAME")
    if resume is not None:
        settled = new.given() | {"--sampler": sampler, "--stopping": stopping}
        _refuse(settled, f"was settled when sweep {resume} began; leave it out with --resume")
        go_on(asked, resume, retry_failed)
        return
    if retry_failed:
        raise UsageError("--retry-failed goes with --resume NAME")
    begin(asked, new)


def _refuse(options: Mapping[str, object], why: str) -> None:
    if given := [option for option, value in options.items() if value is not None]:
        raise UsageError(f"{given[0]} {why}")


def _refuse_beside_replay(new: "Anew", asked: "Asked", others: Mapping[str, object]) -> None:
    numbers = {**asked.resources, **asked.budget, "concurrency": None}
    options = {f"--{name.replace('_', '-')}": value for name, value in numbers.items()}
    places = {"--tracking-uri": asked.tracking_uri, "--submit": asked.job, "--storage-path": asked.storage_path}
    refused = {**new.given(), **others, **places, **options}
    _refuse(refused, "has no meaning with --replay, which trains nothing; leave it out")


def _replay(
    asked: "Asked",
    name: str,
    sampler: SamplerName | None,
    stopping: StoppingName | None,
    seeds: int | None,
    gaps: list[float] | None,
    as_json: bool,
) -> None:
    from dmlray.cli.replay import replay_sweep
    from dmlray.sweep.settings import SweepFolder

    trials, slots = asked.trials.in_all() if asked.trials else None, int(asked.resources["concurrency"] or 1)
    replay_sweep(SweepFolder(asked.results, name), sampler, stopping, trials, seeds or 10, slots, gaps or (), as_json)
