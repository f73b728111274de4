"""A sweep whose trials are really trained, here and now, without Ray."""

from functools import partial
from pathlib import Path

from dmlray.data.dataset import open_splits
from dmlray.model.build import check_buildable
from dmlray.sweep.director import StudyDirector
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


def train_sweep(results: Path, trials: int) -> SweepFolder:
    """``trials`` small trials on made-up data, in ``results``/toy."""
    data = write_data(results / "data", VIDEO)
    config = SweepConfig(
        name="toy",
        data=data,
        fingerprints={name: dataset.fingerprint for name, dataset in open_splits(data).items()},
        trials=trials,
        tracking_uri=f"sqlite:///{results / 'mlflow.db'}",
    )
    folder = create_sweep(results, config, load_text(results, SPACE))
    schema = open_splits(data)["validation"].schema
    with Study.driven(folder.study, lambda error: None, print) as study:
        director = StudyDirector(
            config, folder, load_space(folder.space), study, partial(check_buildable, schema=schema)
        )
        while (task := director.next_task()) is not None:
            number = task.number
            outcome = run_trial(task, lambda report, n=number: director.on_event(Event(n, report)), CPU)
            director.on_event(Event(number, TrialEnd(outcome=outcome)))
    return folder
