"""The control: the same trials under stock `Tuner` and `OptunaSearch` with its study in SQLite, and `Tuner.restore`.

``python -m tests.faults.stock PLAN begin|restore FOLDER DATA ADDRESS`` prints the ids of the trials whose results Tune
knows at its end, as JSON. The training, its checkpoints and the oracle are those of our own rows.
"""

import json
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any

import optuna
import ray
import torch
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from dmlray.config import TrialConfig
from dmlray.train.task import EpochReport, TrialTask
from dmlray.train.trial import run_trial
from tests.faults.plan import ObservedRunner, Plan
from tests.faults.sandbox import EPOCHS, TRIALS


def train(config: dict[str, Any], plan: Plan, folder: Path, data: Path) -> None:
    """A trial that continues from the checkpoint that Tune hands it."""
    context = tune.get_context()
    checkpoint, digest = None, None
    if (known := tune.get_checkpoint()) is not None:
        with known.as_directory() as directory:
            checkpoint, digest = json.loads((Path(directory) / "checkpoint.json").read_text())
    trial = TrialConfig.model_validate(
        {
            "epochs": EPOCHS,
            "batch_size": 16,
            "head": {"kind": "logistic", "dropout": config["dropout"]},
            "optimizer": {"kind": "adam", "learning_rate": config["learning_rate"]},
        }
    )
    name = context.get_trial_id()
    task = TrialTask("stock", name, trial, data, folder / "trials" / name, 7, checkpoint, digest)  # type: ignore[arg-type]

    def report(epoch: EpochReport) -> bool:
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "checkpoint.json").write_text(json.dumps([epoch.checkpoint, epoch.digest]))
            tune.report({"val_gap": epoch.metrics["val_gap"]}, checkpoint=tune.Checkpoint.from_directory(directory))
        return True

    ObservedRunner(plan, run_trial)(task, report, torch.device("cpu"))


def main(plan: Plan, what: str, folder: Path, data: Path) -> None:
    trainable = tune.with_resources(tune.with_parameters(train, plan=plan, folder=folder, data=data), {"cpu": 1})
    if what == "restore":
        tuner = tune.Tuner.restore(str(folder / "tune/sweep"), trainable=trainable, resume_errored=True)
    else:
        search = OptunaSearch(
            {
                "dropout": optuna.distributions.FloatDistribution(0.0, 0.4),
                "learning_rate": optuna.distributions.FloatDistribution(1e-3, 3e-1, log=True),
            },
            metric="val_gap",
            mode="max",
            study_name="sweep",
            storage=optuna.storages.RDBStorage(f"sqlite:///{folder}/optuna.db"),
        )
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=search, num_samples=TRIALS, max_concurrent_trials=1, reuse_actors=True
            ),
            run_config=tune.RunConfig(name="sweep", storage_path=str(folder / "tune"), verbose=0),
        )
    results = tuner.fit()
    print(json.dumps([result.metrics["trial_id"] for result in results if result.metrics]))


if __name__ == "__main__":
    loaded: Plan = pickle.loads(Path(sys.argv[1]).read_bytes())
    ray.init(address=sys.argv[5], log_to_driver=False)
    main(loaded, sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
