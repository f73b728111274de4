"""`dmlray search`: run a sweep, or go on with one."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dmlray.cli.console import note
from dmlray.cli.options import (
    DEFAULT_RESULTS,
    Address,
    Insecure,
    Json,
    Results,
    StoragePath,
    Tracking,
    TrialCount,
    sweeps_there,
)
from dmlray.errors import UsageError
from dmlray.sweep.names import SamplerName, StoppingName

if TYPE_CHECKING:
    from dmlray.sweep.settings import SweepFolder, WarmStart
    from dmlray.sweep.space import Space
    from dmlray.sweep.warm_start import Observation


def register(app: typer.Typer) -> None:
    """Add this module's commands to the app."""
    app.command()(search)


def search(
    context: typer.Context,
    data: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="A converted data set: train/, validation/, test/; also s3://, gs://."),
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="TFRecords or Arrow shards to train on where they are, also s3://, gs://."),
    ] = None,
    space: Annotated[Path | None, typer.Option(help="The search space, a YAML file.")] = None,
    name: Annotated[str | None, typer.Option(help="What to call the sweep; it lives in RESULTS/NAME.")] = None,
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
    as_json: Json = False,
    address: Address = None,
    insecure: Insecure = False,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
) -> None:
    """Search for the models with the best GAP@20.

    \b
    Example: dmlray search --data results/data/tfrecords \\
        --space search_spaces/smoke.yaml --name first

    With --stream, training videos are read from TFRecords or Arrow shards and DATA needs only validation/ (and test/).

    Ctrl-C leaves a sweep that `dmlray search --resume NAME` finishes; --resume NAME --trials +20 extends it.

    `dmlray search --replay NAME` takes --sampler, --stopping, --trials, --seeds, --gap, --concurrency and --json.

    With --submit, paths of data and results are the cluster's; Ctrl-C then ends the following alone, not the sweep.
    """
    from dmlray.cli.fetch import take_up
    from dmlray.cli.run import run_shown
    from dmlray.cli.submit import submit_search
    from dmlray.remote import as_place, without_keys
    from dmlray.sweep.settings import SweepFolder, check_name, load_settings, resumed

    begun: dict[str, object] = {
        "--data": data,
        "--stream": stream,
        "--space": space,
        "--name": name,
        "--seed": seed,
        "--grid": grid or None,
        "--from": source,
        "--set": overrides or None,
        "--storage": storage,
    }
    resources = {
        "workers_per_trial": workers_per_trial,
        "cpus_per_trial": cpus_per_trial,
        "gpus_per_trial": gpus_per_trial,
        "concurrency": concurrency,
        "trial_seconds": trial_seconds,
        "stall_seconds": stall_seconds,
    }
    budget = {"hours": hours, "gpu_hours": gpu_hours, "min_gain": min_gain}
    if replay is not None:
        from dmlray.cli.replay import replay_sweep

        numbers = {key: value for key, value in resources.items() if key != "concurrency"} | budget
        options: dict[str, object] = {f"--{key.replace('_', '-')}": value for key, value in numbers.items()}
        others = {"--resume": resume, "--retry-failed": retry_failed or None, "--tracking-uri": tracking_uri}
        others |= {"--submit": submit or None, "--storage-path": storage_path}
        _refuse(begun | others | options, "has no meaning with --replay, which trains nothing; leave it out")
        folder = SweepFolder(results, replay)
        count = trials.in_all() if trials else None
        replay_sweep(folder, sampler, stopping, count, seeds or 10, concurrency or 1, gaps or (), as_json)
        return
    _refuse({"--seeds": seeds, "--gap": gaps or None, "--json": as_json or None}, "goes with --replay NAME")
    if resume is not None:
        settled = begun | {"--sampler": sampler, "--stopping": stopping}
        _refuse(settled, f"was settled when sweep {resume} began; leave it out with --resume")
        if submit:
            submit_search(context, check_name(resume, "--resume"), None, address, insecure, results)
            return
        folder = SweepFolder(results, resume)
        if storage_path is not None:
            take_up(folder, storage_path)
        before = load_settings(folder)
        config = resumed(before, trials.in_all(before.trials) if trials else None, resources, tracking_uri, budget)
        if storage_path is not None:
            config = config.model_copy(update={"storage_path": storage_path})
        run_shown(folder, config, address, retry_failed, insecure)
        return
    if retry_failed:
        raise UsageError("--retry-failed goes with --resume NAME")
    if data is None or space is None or name is None:
        raise UsageError("a new sweep needs --data, --space and --name (or --resume NAME)")

    from dmlray.sweep.session import create_sweep, discarded_unless_started, new_config
    from dmlray.sweep.space import load_space
    from dmlray.tracking import default_uri

    if grid and sampler not in (None, "grid"):
        raise UsageError(f"--grid leaves nothing to --sampler {sampler}: give one of them")
    sampler = "grid" if grid else sampler
    changes = [parse_override(text) for text in overrides or ()] + ([("stopping.rule", stopping)] if stopping else [])
    loaded = load_space(space, changes)
    count = trials.in_all() if trials else None
    if submit:
        submit_search(context, check_name(name), space, address, insecure, results)
        return
    place = as_place(without_keys(data, "--data"))
    stream = stream and without_keys(stream, "--stream")
    uri = tracking_uri or default_uri(results)
    learnt, prior = _learn(SweepFolder(results, source), loaded) if source else (None, [])
    config = new_config(
        name, place, loaded, count, seed or 0, sampler or "tpe", resources, uri, stream, budget, storage_path
    )
    folder = create_sweep(results, config.model_copy(update={"warm_start": learnt}), loaded, storage, prior)
    with discarded_unless_started(folder):
        run_shown(folder, config, address, insecure=insecure)


def _refuse(options: Mapping[str, object], why: str) -> None:
    if given := [option for option, value in options.items() if value is not None]:
        raise UsageError(f"{given[0]} {why}")


def _learn(folder: "SweepFolder", space: "Space") -> "tuple[WarmStart, list[Observation]]":
    from contextlib import closing

    from dmlray.sweep.settings import load_settings
    from dmlray.sweep.study import Study
    from dmlray.sweep.warm_start import warm_start

    name = load_settings(folder).name
    with closing(Study.open(folder.study, read_only=True)) as study:
        learnt, prior = warm_start(space, name, study.trials())
    note(f"from {name}: {len(prior)} trials to learn from, {len(learnt.left_out)} left out")
    note(*(f"  trial {number} left out: {reason}" for number, reason in learnt.left_out.items()))
    if learnt.unused:
        note(f"  parameters that this space does not have: {', '.join(learnt.unused)}")
    return learnt, prior


def parse_override(text: str) -> tuple[str, str]:
    """Path and value of a --set. Raises UsageError for what is none."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise UsageError(f"--set takes A.B=C, for example --set space.epochs=3, got {text!r}")
    return path, value
