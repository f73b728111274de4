"""`dmlray plan`: what a sweep would take, before anything is started or paid."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dmlray.cli.options import DEFAULT_RESULTS, Address, Insecure, Json, Results, answer
from dmlray.errors import StorageError, UsageError

if TYPE_CHECKING:
    from dmlray.cluster_file import NodeType
    from dmlray.data.manifest import Manifest
    from dmlray.sweep.plan import Plan, Recorded
    from dmlray.sweep.settings import Resources, SweepFolder
    from dmlray.sweep.space import Space


def register(app: typer.Typer) -> None:
    """Add this module's command to the app."""
    app.command()(plan)


def plan(
    name: Annotated[str | None, typer.Argument(help="A sweep that exists: plan what is left of it.")] = None,
    data: Annotated[Path | None, typer.Option(help="A converted data set; its manifests are enough.")] = None,
    space: Annotated[Path | None, typer.Option(help="The search space, a YAML file.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many trials in all (default: the space's).")] = None,
    cluster: Annotated[
        Path | None, typer.Option(help="A file of `ray up`, or KubeRay's (default: --address, else this machine).")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="NAME", help="The sweep whose trials say how long one takes.")
    ] = None,
    price: Annotated[
        float | None, typer.Option("--price-per-hour", min=0, help="Of a node (default: the file's prices).")
    ] = None,
    cpus_per_trial: Annotated[float | None, typer.Option(min=0.1, help="As for search.")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(min=0.0, help="As for search.")] = None,
    workers_per_trial: Annotated[int | None, typer.Option(min=1, help="As for search.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="As for search.")] = None,
    as_json: Json = False,
    address: Address = None,
    insecure: Insecure = False,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Say how many trials would run at once, the hours, what it costs and the storage it needs; refuse what cannot be.

    Example: dmlray plan --space search_spaces/smoke.yaml --data results/data/tfrecords --cluster cluster/gpu.yaml

    Times come from the ended trials of --from NAME, as fast as where those ran, scaled by videos and epochs.
    """
    from dmlray.sweep.footprint import sampled_configs, sweep_bytes
    from dmlray.sweep.plan import plan_sweep
    from dmlray.sweep.settings import SweepFolder

    options = {
        "workers_per_trial": workers_per_trial,
        "cpus_per_trial": cpus_per_trial,
        "gpus_per_trial": gpus_per_trial,
        "concurrency": concurrency,
    }
    if name is not None:
        if data or space:
            raise UsageError("a sweep that exists has its data and space: leave --data and --space out, or the name")
        wanted, loaded, resources, data = _existing(SweepFolder(results, name), trials, options)
    elif data is not None and space is not None:
        wanted, loaded, resources = _new(space, trials, options)
    else:
        raise UsageError("a plan needs the name of a sweep, or --data and --space")
    splits = _manifests(data)
    nodes = _nodes(cluster, address, insecure, resources.gpus_per_trial, price)
    example = source or name
    known = _recorded(SweepFolder(results, example), loaded, splits) if example else None
    made = plan_sweep(wanted, resources, nodes, known)
    videos = sum(manifest.videos for split, manifest in splits.items() if split != "train")
    storage = sweep_bytes(sampled_configs(loaded), splits["validation"].contents, videos, wanted)
    if as_json:
        known_s = None if known is None else asdict(known)
        answer({"version": 1, **asdict(made), "storage_bytes": storage, "recorded": known_s})
    else:
        _print(made, resources, known, storage)
    if cluster is None:
        _check_disk(results, storage[0])


def _existing(
    folder: "SweepFolder", trials: int | None, options: dict[str, float | None]
) -> "tuple[int, Space, Resources, Path]":
    from contextlib import closing

    from dmlray.sweep.settings import load_settings, resumed
    from dmlray.sweep.space import load_space
    from dmlray.sweep.study import Study

    config = resumed(load_settings(folder), trials, options, None)
    with closing(Study.open(folder.study, read_only=True)) as study:
        ended = sum(trial.state.is_finished for trial in study.trials())
    if ended >= config.trials:
        raise UsageError(f"sweep {config.name} has ended, with {ended} trials: give --trials above that to extend it")
    return config.trials - ended, load_space(folder.space), config.resources, config.data


def _new(space: Path, trials: int | None, options: dict[str, float | None]) -> "tuple[int, Space, Resources]":
    from dmlray.sweep.session import DEFAULT_TRIALS
    from dmlray.sweep.settings import Resources, given
    from dmlray.sweep.space import load_space

    loaded = load_space(space)
    return trials or loaded.trials or DEFAULT_TRIALS, loaded, Resources.model_validate(given(options))


def _manifests(data: Path) -> "dict[str, Manifest]":
    from dmlray.data.manifest import read_manifest

    there = [split for split in ("train", "test") if (data / split).is_dir()]
    return {split: read_manifest(data / split)[0] for split in ("validation", *there)}


def _nodes(
    cluster: Path | None, address: str | None, insecure: bool, gpus: float, price: float | None
) -> "list[NodeType]":
    from dmlray.cluster_file import NodeType, load_cluster_file

    if cluster is not None:
        head, *workers = load_cluster_file(cluster).nodes(gpus)
        if price is None:
            return [head, *workers]
        return [replace(head, price=head.price or price), *(replace(node, price=price) for node in workers)]
    if address is None:
        import os

        import torch

        here = {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}
        return [NodeType("this machine", here, price=price)]
    from dmlray.cluster import nodes_to_use, ray_cluster

    with ray_cluster(address, insecure=insecure):
        return [NodeType("node", resources, price=price) for resources in nodes_to_use(gpus)]


def _recorded(folder: "SweepFolder", space: "Space", splits: "dict[str, Manifest]") -> "Recorded | None":
    from contextlib import closing

    from dmlray.errors import MissingInputError
    from dmlray.sweep.plan import recorded
    from dmlray.sweep.settings import load_settings
    from dmlray.sweep.study import Study

    config = load_settings(folder)
    with closing(Study.open(folder.study, read_only=True)) as study:
        trials = study.trials()
    found = recorded(trials)
    if found is None:
        return None
    factor = space.max_epochs / max(trial.config["epochs"] for trial in trials)
    try:
        before = _manifests(config.data).get("train")
    except MissingInputError:  # its data has gone; its times have not
        before = None
    if before is not None and "train" in splits:
        factor *= splits["train"].videos / before.videos
    return found.scaled(factor)


def _check_disk(results: Path, needed: float) -> None:
    import shutil

    there = next(folder for folder in (results.absolute(), *results.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        remedy = "free some, name a larger disk with --results, or ask for fewer trials"
        raise StorageError(results, f"has {_size(free)} free, and the sweep needs {_size(needed)}: {remedy}")


def _print(made: "Plan", resources: "Resources", known: "Recorded | None", storage: tuple[float, float]) -> None:
    from dmlray.sweep.summary import span

    nodes = ", ".join(f"{count} {name}" for name, count in made.nodes.items())
    rows: list[tuple[str, Any]] = [
        ("trials", f"{made.trials}, {made.at_once} at once"),
        ("nodes", nodes),
        ("CPUs left to data", f"{made.cpus_left:g} on a full node"),
        ("storage", f"{_size(storage[0])} expected, {_size(storage[1])} if every model were as large as the largest"),
    ]
    if known is None or made.hours is None:
        rows.append(("time", "unknown: try a few trials (search --trials 4), then give that sweep as --from NAME"))
    else:
        least, most = (span(hours * 3600) for hours in made.hours)
        one = f"{span(known.mean_s)} a trial, {span(known.longest_s)} at most, by {known.trials} recorded"
        rows.append(("time", f"{least} to {most} ({one}; without the start of nodes)"))
        if resources.gpus_per_trial:
            rows.append(("GPU-hours", f"{made.gpu_hours:,.1f} of training"))
        cost = "unknown: give --price-per-hour" if made.cost is None else f"{made.cost[0]:,.2f} to {made.cost[1]:,.2f}"
        rows.append(("cost", cost))
    for word, text in rows:
        print(f"{word:<18} {text}")
    for note in made.notes:
        print(f"note: {note}")


def _size(count: float) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
