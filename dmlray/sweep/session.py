"""One driver's hold on a sweep: create it or open it again, run it, leave it resumable."""

import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from dmlray.atomic import write_text
from dmlray.cluster import nodes_to_use
from dmlray.cluster_survey import check_nodes
from dmlray.errors import DmlrayError, InterruptedSweepError, LeaseLostError, SweepExistsError, UnavailableError
from dmlray.model.build import check_buildable
from dmlray.remote import Place
from dmlray.sweep.budgets import Budget
from dmlray.sweep.configurations import check_configurations
from dmlray.sweep.database import delete_study
from dmlray.sweep.director import Change, Listener, StudyDirector
from dmlray.sweep.fetching import TRIALS, check_new, fetch_ended, sweep_remote
from dmlray.sweep.grid import grid_size
from dmlray.sweep.inputs import Inputs, check_inputs, open_inputs
from dmlray.sweep.names import SamplerName
from dmlray.sweep.placement import slots_that_fit
from dmlray.sweep.samplers import check_sampler
from dmlray.sweep.settings import (
    STUDY_FILE,
    STUDY_POINTER,
    Resources,
    SweepConfig,
    SweepFolder,
    check_budget,
    check_name,
    given,
    save_settings,
)
from dmlray.sweep.shipping import shipping
from dmlray.sweep.space import Space, load_space
from dmlray.sweep.study import Study
from dmlray.sweep.trimming import Trimming
from dmlray.sweep.warm_start import Observation
from dmlray.train.trial import run_trial

if TYPE_CHECKING:
    from dmlray.train.worker import Runner

DEFAULT_TRIALS = 20


def new_config(
    name: str,
    data: Place,
    space: Space,
    trials: int | None,
    seed: int,
    sampler: SamplerName,
    resources: Mapping[str, float | None],
    tracking_uri: str,
    stream: str | None = None,
    budget: Mapping[str, float | None] | None = None,
    storage_path: str | None = None,
) -> SweepConfig:
    """Resolve what a new sweep was asked for; ``trials`` None takes the space's number. Opens the data to pin it.

    A grid's trials are by default the named configurations and all its points. Raises ConfigError for what cannot be,
    a named configuration that does not fit the data among it.
    """
    check_sampler(sampler, space)
    if stream is not None and "://" not in stream:
        stream = str(Path(stream).absolute())
    inputs = open_inputs(data, stream)
    check_configurations(space.configurations, partial(check_buildable, schema=inputs.schema))
    config = SweepConfig(
        name=check_name(name),
        data=data.absolute() if isinstance(data, Path) else data,
        storage_path=storage_path,
        stream=stream,
        fingerprints=inputs.fingerprints,
        trials=trials or _default_trials(space, sampler),
        seed=seed,
        sampler=sampler,
        budget=Budget.model_validate(given(budget or {})),
        resources=Resources.model_validate(given(resources)),
        retries=space.retries,
        tracking_uri=tracking_uri,
    )
    check_budget(config)
    return config


def _default_trials(space: Space, sampler: SamplerName) -> int:
    named = len(space.configurations)
    if sampler != "grid":
        return space.trials or max(DEFAULT_TRIALS, named)
    return named if named and not space.dimensions else named + (grid_size(space) or 0)


def create_sweep(
    results: Path,
    config: SweepConfig,
    space: Space,
    storage: str | None = None,
    prior: Sequence[Observation] = (),
) -> SweepFolder:
    """Lay down a new sweep's folder: settings, its space with overrides applied, an empty study (in ``storage``).

    ``prior`` is what the sampler knows already.

    Raises SweepExistsError when the name is taken, UnavailableError for a storage path that cannot be used; then, and
    on any error, nothing is left behind.
    """
    folder = SweepFolder(results, config.name)
    if config.storage_path is not None:
        check_new(sweep_remote(config.storage_path, config.name))
    try:
        folder.path.mkdir(parents=True)
    except FileExistsError:
        remedy = f"choose another --name, or go on with `dmlray search --resume {folder.as_typed}`"
        raise SweepExistsError(f"{folder.path} exists already: {remedy}") from None
    try:
        write_text(folder.space, yaml.safe_dump(dict(space.document), sort_keys=False))
        path = folder.path / (STUDY_FILE if storage is None else STUDY_POINTER)
        Study.create(path, config.name, config.seed, config.sampler, storage, prior).close()
        save_settings(folder, config)  # last: a folder with sweep.yaml is a whole sweep
    except BaseException:
        shutil.rmtree(folder.path)
        raise
    return folder


@contextmanager
def discarded_unless_started(folder: SweepFolder) -> Iterator[None]:
    """A new sweep that ends before any trial has begun, for whatever reason, does not keep its name."""
    try:
        yield
    except BaseException:
        with closing(Study.open(folder.study, read_only=True)) as study:
            is_in_use = any(trial.attempts for trial in study.trials()) or study.is_driven()
        if not is_in_use:
            delete_study(folder.study)
            shutil.rmtree(folder.path)
        raise


def run_sweep(
    folder: SweepFolder,
    config: SweepConfig,
    listeners: list[Listener],
    say: Callable[[str], None],
    cluster: AbstractContextManager[object],
    retry_failed: bool = False,
) -> None:
    """Run a sweep to its budget in ``cluster``, which is entered once the sweep is known to be this process's.

    Raises BusyError while another process drives it, LeaseLostError when one has taken it over, StorageError when the
    study cannot be written, UnavailableError where its last copy cannot be made on the storage path,
    InterruptedSweepError after SIGINT or SIGTERM, UnavailableError when Ray keeps losing trials.
    """
    inputs = check_inputs(config)
    space = load_space(folder.space)
    directors: list[StudyDirector] = []

    def on_lost(error: LeaseLostError) -> None:
        for director in directors:
            director.abort(error)

    with (
        shipping(folder, config, on_lost, say) as ship,
        Study.driven(folder.study, on_lost, say) as study,
        cluster,
    ):
        save_settings(folder, config)  # a resume may have changed them
        again = study.retry_failed() if retry_failed else []
        director = StudyDirector(config, folder, space, study, partial(check_buildable, schema=inputs.schema))
        directors.append(director)
        director.listen(ship)
        if config.storage_path is None:  # else a trial's folder may be on its way there
            trimming = Trimming(folder)
            trimming.trim(study.trials())
            director.listen(trimming)
        for listener in listeners:
            director.listen(listener)
            for trial in again:
                listener(Change("retried", trial, "as --retry-failed asks"))
        with _signals_stop(director, say):
            check_nodes(*_places(folder, config), say)
            _run_in_slots(director, folder, config, inputs)
        if director.exhausted and director.error is None:
            save_settings(folder, config.model_copy(update={"exhausted": True}))
    _raise_cause(director, folder)
    try:
        fetch_ended(folder, config, study.trials())
    except DmlrayError as error:
        say(f"not all predictions are here, `dmlray fetch {folder.as_typed}` brings them: {error}")


def _places(folder: SweepFolder, config: SweepConfig) -> tuple[list[Path], list[Path]]:
    """The folders that all nodes write to and read from; what goes through a storage path need not be one folder."""
    written = [folder.path] if config.storage_path is None else []
    streamed = [] if config.stream is None or "://" in config.stream else [Path(config.stream)]
    return written, [place for place in (config.data, *streamed) if isinstance(place, Path) and place.is_dir()]


def _run_in_slots(director: StudyDirector, folder: SweepFolder, config: SweepConfig, inputs: Inputs) -> None:
    from dmlray.sweep.slot import SlotSettings
    from dmlray.sweep.tuner import run_trials

    resources, scratch = config.resources, folder.path.absolute() / ".ray"
    cpus, gpus, workers = resources.cpus_per_trial, resources.gpus_per_trial, resources.workers_per_trial
    fitting = slots_that_fit(nodes_to_use(gpus), cpus, gpus, workers)
    slot = SlotSettings(cpus, gpus, _copied(_runner(inputs), config), scratch, workers)
    run_trials(director, slot, min(fitting, resources.concurrency or fitting))
    if director.error is None:  # else it may be another driver's by now
        shutil.rmtree(scratch, ignore_errors=True)


def _raise_cause(director: StudyDirector, folder: SweepFolder) -> None:
    """Raise what ended the sweep before its budget was spent, if anything did."""
    if director.error:
        raise director.error
    if director.failure:
        raise UnavailableError(f"Ray cannot train: {director.failure}; then: dmlray search --resume {folder.as_typed}")
    if director.wants_to_stop():
        raise InterruptedSweepError(f"stopped; go on with: dmlray search --resume {folder.as_typed}")


def _runner(inputs: Inputs) -> "Runner":
    if inputs.stream is None:
        return run_trial
    from dmlray.data.stream import RayStream

    return partial(run_trial, stream=RayStream(inputs.stream))


def _copied(runner: "Runner", config: SweepConfig) -> "Runner":
    """``runner``, with its trials' folders copied to the storage path, if there is one."""
    if config.storage_path is None:
        return runner
    from dmlray.train.shipped import Shipped

    return Shipped(runner, sweep_remote(config.storage_path, config.name).below(TRIALS))


@contextmanager
def _signals_stop(director: StudyDirector, say: Callable[[str], None]) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends the sweep at the next report; the second ends it at once."""

    def handle(number: int, frame: object) -> None:
        if director.wants_to_stop():
            raise KeyboardInterrupt
        director.stop()
        say("stopping: every finished epoch is saved; once more to stop at once")

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
