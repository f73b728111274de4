"""`dmlray refit`: an ensemble's members trained anew on training and validation videos together."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dmlray.cli.console import is_verbose, note, to_stderr, warn
from dmlray.cli.options import DEFAULT_RESULTS, Address, Insecure, Json, Results, Tracking, answer
from dmlray.errors import DmlrayError, SweepExistsError, UsageError

if TYPE_CHECKING:
    from dmlray.registry.contents import Refit
    from dmlray.sweep.records import TrialRecord
    from dmlray.sweep.settings import SweepConfig, SweepFolder

REFIT = "refit.json"  # beside the package


def register(app: typer.Typer) -> None:
    """Add this module's command to the app."""
    app.command()(refit)


def refit(
    ensemble: Annotated[str, typer.Option("--ensemble", metavar="NAME", help="SWEEP or SWEEP/ENSEMBLE.")],
    name: Annotated[
        str | None, typer.Option(help="What to call the sweep that trains (default: SWEEP-ENSEMBLE-refit).")
    ] = None,
    workers_per_trial: Annotated[int | None, typer.Option(min=1, help="As for search; often more than there.")] = None,
    cpus_per_trial: Annotated[float | None, typer.Option(min=0.1, help="As for search.")] = None,
    gpus_per_trial: Annotated[float | None, typer.Option(min=0.0, help="As for search.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="As for search.")] = None,
    publish: Annotated[bool, typer.Option("--publish", help="Also register it, see `dmlray publish`.")] = False,
    address: Address = None,
    insecure: Insecure = False,
    as_json: Json = False,
    results: Results = DEFAULT_RESULTS,
    tracking_uri: Tracking = None,
) -> None:
    """Train an ensemble's members anew on training and validation videos together, and package them.

    Example: dmlray refit --ensemble first/top5 --workers-per-trial 2

    Each member trains as many epochs as it had at its best; weights and temperatures stay. Test stays untouched, and
    is all that tells how good the new members are. Killed or stopped, the same command goes on.
    """
    from dmlray.registry.find import find_ensemble
    from dmlray.sweep.session import discarded_unless_started
    from dmlray.sweep.settings import SweepFolder, check_name, load_settings, resumed

    chosen, own_name = find_ensemble(ensemble, results)
    resources = {
        "workers_per_trial": workers_per_trial,
        "cpus_per_trial": cpus_per_trial,
        "gpus_per_trial": gpus_per_trial,
        "concurrency": concurrency,
    }
    sweep = SweepFolder(results, check_name(name or f"{chosen.path.name}-{own_name}-refit"[:64]))
    trials = _create_or_check(chosen, own_name, sweep, resources, tracking_uri)
    config = resumed(load_settings(sweep), None, resources, tracking_uri)
    with discarded_unless_started(sweep):
        _train(sweep, config, address, insecure)
    package, done = _package(chosen, own_name, sweep, trials)
    if as_json:
        answer({"version": 1, "sweep": sweep.path.name, "package": str(package), **done.model_dump(mode="json")})
    else:
        _print(package, done)
    _log(config, package)
    if publish:
        from dmlray.cli.publish import publish_refit, sentence

        note(sentence(publish_refit(package, results)))


def _create_or_check(
    chosen: "SweepFolder",
    name: str,
    sweep: "SweepFolder",
    resources: dict[str, float | None],
    tracking_uri: str | None,
) -> list[int]:
    """Make the sweep, or find that it is this very refit; gives the number of each member's trial."""
    from dmlray.data.dataset import Dataset
    from dmlray.ensemble.members import load_trial_model
    from dmlray.registry.export import PACKAGE
    from dmlray.registry.package import load_package
    from dmlray.registry.refit import SPLITS, refit_data, refit_space, trains_the_same
    from dmlray.sweep.inputs import check_inputs
    from dmlray.sweep.session import create_sweep, new_config
    from dmlray.sweep.settings import load_settings
    from dmlray.sweep.space import load_space

    original = load_settings(chosen)
    if original.stream is not None:
        raise UsageError(f"sweep {original.name} trains on a stream; convert its training videos to train on all data")
    if isinstance(original.data, str):
        raise UsageError(f"the data are at {original.data}; bring them into a folder that all nodes see to refit")
    check_inputs(original)
    package = load_package(chosen.ensemble(name) / PACKAGE)
    data = refit_data(_folder(chosen, name) / SPLITS, original.data)
    videos = len(Dataset.open(data / "train"))
    members = package.contents.members
    if foreign := [one.sweep for one in members if one.sweep != original.name]:
        raise UsageError(f"a member is a trial of sweep {foreign[0]}: only members of {original.name} are trained anew")
    averaged = [
        load_trial_model(chosen.trial(one.trial)).is_average if one.is_average is None else one.is_average
        for one in members
    ]
    space, trials = refit_space(members, averaged, videos)
    if not sweep.settings.is_file():
        uri = tracking_uri or original.tracking_uri
        config = new_config(sweep.path.name, data, space, len(set(trials)), original.seed, "grid", resources, uri)
        config = config.model_copy(update={"refit": package.contents.name})
        create_sweep(sweep.path.parent, config, space)
    elif not trains_the_same(load_space(sweep.space), space) or load_settings(sweep).data != data.absolute():
        raise SweepExistsError(f"{sweep.path} exists already and trains something else: choose another --name")
    return trials


def _folder(chosen: "SweepFolder", name: str) -> Path:
    return chosen.ensemble(f"{name}-refit")


def _train(sweep: "SweepFolder", config: "SweepConfig", address: str | None, insecure: bool) -> None:
    """Run the sweep to its end; every trial must get there."""
    from functools import partial

    from dmlray.cli.progress import SweepProgress
    from dmlray.cluster import ray_cluster
    from dmlray.sweep.director import Change
    from dmlray.sweep.mirror import SweepMirror
    from dmlray.sweep.session import run_sweep
    from dmlray.sweep.summary import summarize

    trials = {trial.number: trial for trial in _trials(sweep)}

    def on_change(change: Change) -> None:
        trials[change.trial.number] = change.trial
        progress.show(change, summarize(list(trials.values()), config.trials))
        mirror.update(change.trial)

    with (
        SweepProgress(to_stderr(), is_verbose()) as progress,
        SweepMirror(config, partial(_trials, sweep), progress.warn) as mirror,
    ):
        if not summarize(list(trials.values()), config.trials).is_over:
            progress.say(f"sweep {config.name}: {config.trials} members in {sweep.path}; starting Ray")
            run_sweep(sweep, config, [on_change], progress.say, ray_cluster(address, insecure=insecure))
        mirror.settle(config)
    for trial in _trials(sweep):
        if trial.reason:
            again = f"dmlray search --resume {sweep.as_typed} --retry-failed, then this command"
            raise DmlrayError(f"trial {trial.number} ended as {trial.reason}: {trial.message}; try again by {again}")


def _trials(sweep: "SweepFolder") -> "list[TrialRecord]":
    from contextlib import closing

    from dmlray.sweep.study import Study

    with closing(Study.open(sweep.study, read_only=True)) as study:
        return study.trials()


def _package(chosen: "SweepFolder", name: str, sweep: "SweepFolder", trials: list[int]) -> "tuple[Path, Refit]":
    """Measure the new members on test, and package them; gives the package's folder."""
    from dmlray.atomic import write_text
    from dmlray.data.dataset import Dataset
    from dmlray.ensemble.dense import DenseBlender
    from dmlray.ensemble.scoring import best_device
    from dmlray.ensemble.sweeps import finished_candidates
    from dmlray.registry.export import PACKAGE, discard_package, load_report, write_package
    from dmlray.registry.package import load_package
    from dmlray.registry.refit import measure_refit, refit_report
    from dmlray.sweep.settings import load_settings

    config, folder = load_settings(sweep), _folder(chosen, name)
    original = load_package(chosen.ensemble(name) / PACKAGE)
    report = refit_report(load_report(chosen.ensemble(name)), trials)
    candidates = {one.trial: one for one in finished_candidates(sweep)}
    blender = None
    if (config.data / "test").is_dir():
        blender = DenseBlender({"test": Dataset.open(config.data / "test")}, config.seed, best_device())
    videos = len(Dataset.open(config.data / "train"))
    done = measure_refit(original.contents.name, original, report, candidates, blender, videos)
    discard_package(folder)
    package = write_package(folder, f"{original.contents.name}-refit", sweep, config, report, original.vocabulary, done)
    write_text(folder / REFIT, done.model_dump_json(indent=2) + "\n")
    return package, done


def _log(config: "SweepConfig", folder: Path) -> None:
    from dmlray.errors import UnavailableError
    from dmlray.registry.package import load_package
    from dmlray.registry.refit import refit_run
    from dmlray.tracking import Tracker

    try:
        Tracker(config.tracking_uri, "dmlray").sync([refit_run(config, load_package(folder))])
    except UnavailableError as error:
        warn(f"the new ensemble is not in MLflow, the same command sends it again: {error}")


def _print(package: Path, done: "Refit") -> None:
    print(f"{done.ensemble} trained anew on {done.videos:,} videos of training and validation")
    if done.test is None or done.test_interval is None:
        print("there is no test split: how good it is now is not known")
    else:
        before = "" if done.test_before is None else f", {done.test_before:.4f} before"
        low, high = done.test_interval
        print(f"GAP@20 on test {done.test:.4f} (95 % interval {low:.4f} to {high:.4f}){before}")
    print("validation figures mean nothing for it any more: it was trained on those videos")
    print(f"saved in {package}")
    note(f"next: dmlray predict --ensemble {package} --data FEATURES --out submission.csv")
