"""Sweeps whose trials are really trained, here and now, without Ray."""

from functools import partial
from pathlib import Path
from typing import Any

from dmlray.data.dataset import open_splits
from dmlray.data.schema import Schema
from dmlray.errors import InterruptedSweepError
from dmlray.model.build import check_buildable
from dmlray.sweep.director import Listener, StudyDirector
from dmlray.sweep.inputs import check_inputs
from dmlray.sweep.session import create_sweep
from dmlray.sweep.settings import SweepConfig, SweepFolder
from dmlray.sweep.space import load_space
from dmlray.sweep.study import Study
from dmlray.train.channel import Event, TrialEnd
from dmlray.train.trial import run_trial
from tests.data.videos import VIDEO
from tests.sweep.spaces import load_text
from tests.train.trials import CPU, write_data

SPACE = """
space:
  epochs: 2
  batch_size: 16
  optimizer: {kind: adam, learning_rate: {float: [0.01, 0.1], log: true}}
"""


def train_sweep(
    results: Path, trials: int, space: str = SPACE, name: str = "toy", schema: Schema = VIDEO
) -> SweepFolder:
    """``trials`` small trials on made-up data, in ``results``/``name``."""
    folder, config = new_sweep(results, trials, space, name, schema)
    train_here([1] * trials, folder, config, [])
    return folder


def new_sweep(
    results: Path, trials: int, space: str = SPACE, name: str = "toy", schema: Schema = VIDEO, **settings: Any
) -> tuple[SweepFolder, SweepConfig]:
    """A sweep of which nothing has been trained, on made-up data."""
    data = results / "data"
    if not data.exists():
        write_data(data, schema)
    config = SweepConfig(
        name=name,
        data=data,
        fingerprints={name: dataset.fingerprint for name, dataset in open_splits(data).items()},
        trials=trials,
        tracking_uri=f"sqlite:///{results / 'mlflow.db'}",
        **settings,
    )
    return create_sweep(results, config, load_text(results, space)), config


def train_here(left: list[int], folder: SweepFolder, config: SweepConfig, listeners: list[Listener], *_: Any) -> None:
    """`sweep.session.run_sweep` without Ray, interrupted after as many trials as are ``left``."""
    schema = check_inputs(config).schema
    with Study.driven(folder.study, lambda error: None, print) as study:
        check = partial(check_buildable, schema=schema)
        director = StudyDirector(config, folder, load_space(folder.space), study, check)
        for listener in listeners:
            director.listen(listener)
        drive(director, left)


def drive(director: StudyDirector, left: list[int]) -> None:
    """Train, in this process, what the director asks for, until as many trials as are ``left`` have been."""
    while (task := director.next_task()) is not None:
        if not left:
            raise InterruptedSweepError("stopped")
        left.pop()
        outcome = run_trial(task, lambda report, n=task.number: director.on_event(Event(n, report)), CPU)
        director.on_event(Event(task.number, TrialEnd(outcome=outcome)))
