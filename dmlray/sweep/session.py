"""One driver's hold on a sweep: create it or open it again, run it, leave it resumable."""

import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from dmlray.atomic import write_text
from dmlray.cluster import node_resources
from dmlray.errors import InterruptedSweepError, SweepExistsError, UnavailableError
from dmlray.model.build import check_buildable
from dmlray.sweep.director import Listener, StudyDirector
from dmlray.sweep.inputs import Inputs, check_inputs, open_inputs
from dmlray.sweep.lock import hold
from dmlray.sweep.placement import slots_that_fit
from dmlray.sweep.sampler import SamplerName
from dmlray.sweep.settings import Resources, SweepConfig, SweepFolder, check_name, save_settings
from dmlray.sweep.space import Space, load_space
from dmlray.sweep.study import Study
from dmlray.train.trial import run_trial

if TYPE_CHECKING:
    from dmlray.train.worker import Runner

DEFAULT_TRIALS = 20


def new_config(
    name: str,
    data: Path,
    space: Space,
    trials: int | None,
    seed: int,
    sampler: SamplerName,
    resources: Mapping[str, float | None],
    tracking_uri: str,
    stream: str | None = None,
) -> SweepConfig:
    """Resolve what a new sweep was asked for; ``trials`` None takes the space's number. Opens the data to pin it."""
    if stream is not None and "://" not in stream:
        stream = str(Path(stream).absolute())
    return SweepConfig(
        name=check_name(name),
        data=data.absolute(),
        stream=stream,
        fingerprints=open_inputs(data, stream).fingerprints,
        trials=trials or space.trials or DEFAULT_TRIALS,
        seed=seed,
        sampler=sampler,
        resources=Resources.model_validate({key: value for key, value in resources.items() if value is not None}),
        tracking_uri=tracking_uri,
    )


def create_sweep(results: Path, config: SweepConfig, space: Space) -> SweepFolder:
    """Lay down a new sweep's folder: settings, its space with overrides applied, an empty study.

    Raises SweepExistsError when the name is taken; then, and on any error, nothing is left behind.
    """
    folder = SweepFolder(results, config.name)
    try:
        folder.path.mkdir(parents=True)
    except FileExistsError:
        remedy = f"choose another --name, or go on with `dmlray search --resume {folder.as_typed}`"
        raise SweepExistsError(f"{folder.path} exists already: {remedy}") from None
    try:
        write_text(folder.space, yaml.safe_dump(dict(space.document), sort_keys=False))
        Study.create(folder.study, config.name, config.seed, config.sampler).close()
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
            has_begun = any(trial.attempts for trial in study.trials())
        if not has_begun:
            shutil.rmtree(folder.path)
        raise


def run_sweep(folder: SweepFolder, config: SweepConfig, listeners: list[Listener], say: Callable[[str], None]) -> None:
    """Run a sweep to its budget in the Ray that is connected.

    Raises InterruptedSweepError after SIGINT or SIGTERM, UnavailableError when Ray keeps losing trials.
    """
    from dmlray.sweep.slot import SlotSettings
    from dmlray.sweep.tuner import run_trials

    inputs = check_inputs(config)
    space = load_space(folder.space)
    resources = config.resources
    fitting = slots_that_fit(node_resources(), resources.cpus_per_trial, resources.gpus_per_trial)
    with hold(folder), closing(Study.open(folder.study)) as study:
        save_settings(folder, config)  # a resume may have changed them
        director = StudyDirector(config, folder, space, study, partial(check_buildable, schema=inputs.schema))
        for listener in listeners:
            director.listen(listener)
        slot = SlotSettings(
            resources.cpus_per_trial, resources.gpus_per_trial, _runner(inputs), folder.path.absolute() / ".ray"
        )
        with _signals_stop(director, say):
            run_trials(director, slot, min(fitting, resources.concurrency or fitting))
        shutil.rmtree(folder.path / ".ray", ignore_errors=True)
    if director.failure:
        raise UnavailableError(f"Ray cannot train: {director.failure}; then: dmlray search --resume {folder.as_typed}")
    if director.wants_to_stop():
        raise InterruptedSweepError(f"stopped; go on with: dmlray search --resume {folder.as_typed}")


def _runner(inputs: Inputs) -> "Runner":
    if inputs.stream is None:
        return run_trial
    from dmlray.data.stream import RayStream

    return partial(run_trial, stream=RayStream(inputs.stream))


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
