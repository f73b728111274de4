"""`dmlray plan`: what a sweep would take, before anything is started or paid."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dmlray.cli.console import note
from dmlray.cli.options import DEFAULT_RESULTS, Address, Insecure, Json, Results, answer
from dmlray.errors import StorageError, UsageError

if TYPE_CHECKING:
    from dmlray.cluster_file import NodeType
    from dmlray.config import TrialConfig
    from dmlray.data.manifest import Manifest
    from dmlray.remote import Place
    from dmlray.sweep.calibrate import Calibration
    from dmlray.sweep.plan import Recorded
    from dmlray.sweep.settings import Resources, SweepFolder
    from dmlray.sweep.space import Space


SPLITS = ("train", "validation", "test")  # also in data.dataset, which is not light
_NEEDS = "a plan needs the name of a sweep, or --space and --data (which the space's file may name)"


def register(app: typer.Typer) -> None:
    """Add this module's command to the app."""
    app.command()(plan)


def plan(
    name: Annotated[str | None, typer.Argument(help="A sweep that exists: plan what is left of it.")] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="A converted data set; its manifests are enough (default: the space's)."),
    ] = None,
    space: Annotated[Path | None, typer.Option(help="The search space, a YAML file.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="How many trials in all (default: the space's).")] = None,
    cluster: Annotated[
        Path | None, typer.Option(help="A file of `ray up`, or KubeRay's (default: --address, else this machine).")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="NAME", help="The sweep whose trials say how long one takes.")
    ] = None,
    with_calibration: Annotated[
        bool, typer.Option("--calibrate", help="Train for a minute, here or at --address, to say how long trials take.")
    ] = False,
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

    \b
    Example: dmlray plan --space search_spaces/smoke.yaml \\
        --data results/data/tfrecords --cluster cluster/gpu.yaml

    Times come from the ended trials of --from NAME, as fast as where those ran, scaled by videos and epochs; or from
    --calibrate, which really trains some batches of the space's named configurations and of 20 random points.
    """
    if name is None and space is None:
        raise UsageError(_NEEDS)
    if with_calibration and source is not None:
        raise UsageError("--calibrate measures what --from NAME would tell: give one of them")
    from dmlray.cli.plan_text import print_calibration, print_plan
    from dmlray.sweep.footprint import sampled_configs, sweep_bytes
    from dmlray.sweep.plan import plan_sweep
    from dmlray.sweep.settings import SweepFolder

    options = {
        "workers_per_trial": workers_per_trial,
        "cpus_per_trial": cpus_per_trial,
        "gpus_per_trial": gpus_per_trial,
        "concurrency": concurrency,
    }
    todo = _todo(None if name is None else SweepFolder(results, name), space, data, trials, options)
    splits, resources = _manifests(todo.data), todo.resources
    nodes = _nodes(cluster, address, insecure, resources.gpus_per_trial, price)
    configs, example = sampled_configs(todo.space), source or name
    timed = _calibrate(configs, todo.data, splits, resources, address, insecure) if with_calibration else None
    known = None
    if timed is not None:
        known = _by_calibration(timed, splits, resources.workers_per_trial)
    elif example is not None:
        known = _recorded(SweepFolder(results, example), todo.space, splits)
    made = plan_sweep(todo.trials, resources, nodes, known)
    videos = sum(manifest.videos for split, manifest in splits.items() if split != "train")
    storage = sweep_bytes(
        configs, splits["validation"].contents, videos, todo.trials, todo.trials if todo.keeps_all else made.at_once
    )
    if as_json:
        known_s = None if known is None else asdict(known)
        calibrated = None if timed is None else {kind: asdict(one) for kind, one in timed.examples().items()}
        figures = {"storage_bytes": storage, "recorded": known_s, "calibrated": calibrated}
        answer({"version": 1, **asdict(made), **figures})
    else:
        print_plan(made, resources, known, storage, "timed here" if timed else "recorded")
        if timed is not None:
            print_calibration(timed, resources.workers_per_trial)
    if cluster is None:
        _check_disk(results, storage[0])


@dataclass(frozen=True)
class _Todo:
    """``trials`` of ``space`` that are to run on ``data``, each with its ``resources``.

    One that ``keeps_all`` has its checkpoints on a storage path, where those stay that training has left.
    """

    trials: int
    space: "Space"
    resources: "Resources"
    data: "Place"
    keeps_all: bool = False


def _todo(
    folder: "SweepFolder | None",
    space: Path | None,
    data: str | None,
    trials: int | None,
    options: dict[str, float | None],
) -> _Todo:
    """What is left of the sweep in ``folder``, or a new one."""
    if folder is None:
        return _new(space, data, trials, options)
    if data or space:
        raise UsageError("a sweep that exists has its data and space: leave --data and --space out, or the name")
    return _existing(folder, trials, options)


def _existing(folder: "SweepFolder", trials: int | None, options: dict[str, float | None]) -> _Todo:
    from contextlib import closing

    from dmlray.sweep.settings import load_settings, resumed
    from dmlray.sweep.space import load_space
    from dmlray.sweep.study import Study

    config = resumed(load_settings(folder), trials, options, None)
    with closing(Study.open(folder.study, read_only=True)) as study:
        ended = sum(trial.state.is_finished for trial in study.trials())
    if ended >= config.trials:
        raise UsageError(f"sweep {config.name} has ended, with {ended} trials: give --trials above that to extend it")
    is_copied = config.storage_path is not None
    return _Todo(config.trials - ended, load_space(folder.space), config.resources, config.data, is_copied)


def _new(space: Path | None, data: str | None, trials: int | None, options: dict[str, float | None]) -> _Todo:
    from dmlray.remote import as_place, without_keys
    from dmlray.sweep.session import DEFAULT_TRIALS
    from dmlray.sweep.settings import Resources, given
    from dmlray.sweep.space import load_space

    loaded = None if space is None else load_space(space)
    place = data if data is not None or loaded is None else loaded.data
    if loaded is None or place is None:
        raise UsageError(_NEEDS)
    resources = Resources.model_validate(given(options))
    wanted = trials or loaded.trials or DEFAULT_TRIALS
    return _Todo(wanted, loaded, resources, as_place(without_keys(place, "--data")))


def _manifests(data: "Place") -> "dict[str, Manifest]":
    from dmlray.data.dataset import Dataset
    from dmlray.data.manifest import read_manifest
    from dmlray.remote import reach

    reach(data)
    there = {split: data / split for split in SPLITS if split == "validation" or (data / split).is_dir()}
    return {
        split: read_manifest(place)[0] if isinstance(place, Path) else Dataset.open(place).manifest
        for split, place in there.items()
    }


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


def _calibrate(
    configs: "list[TrialConfig]",
    data: "Place",
    splits: "dict[str, Manifest]",
    resources: "Resources",
    address: str | None,
    insecure: bool,
) -> "Calibration":
    """Here, or on a node of the cluster with what one worker of a trial gets."""
    from functools import partial

    from dmlray.cluster import ray_cluster, run_there
    from dmlray.sweep.calibrate import BUDGET_S, calibrate_on

    if "train" not in splits:
        raise UsageError(f"--calibrate trains on converted videos, and {data} has none: convert some, or give --from")
    workers = resources.workers_per_trial
    cpus, gpus = resources.cpus_per_trial / workers, resources.gpus_per_trial / workers
    note(f"training for {BUDGET_S:.0f} s")
    work = partial(calibrate_on, configs, data, max(1, int(cpus)), "cuda" if gpus else "cpu")
    if address is None:
        return work()
    with ray_cluster(address, insecure=insecure):
        return run_there(work, cpus, gpus)


def _by_calibration(timed: "Calibration", splits: "Mapping[str, Manifest]", workers: int) -> "Recorded":
    train, validation, test = (splits[split].videos if split in splits else 0 for split in SPLITS)
    return timed.recorded(train, validation, test, workers)


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

    from dmlray.cli.plan_text import size

    there = next(folder for folder in (results.absolute(), *results.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        remedy = "free some, name a larger disk with --results, or ask for fewer trials"
        raise StorageError(results, f"has {size(free)} free, and the sweep needs {size(needed)}: {remedy}")
