"""Sweeps made by hand, as drivers leave them: nothing is trained."""

import math
import random
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from dmlray.data.predictions import save_predictions
from dmlray.ensemble.candidates import load_candidates
from dmlray.ensemble.report import save_ensemble
from dmlray.ensemble.search import EnsembleSettings, search_ensemble
from dmlray.sweep.runs import describe
from dmlray.sweep.session import create_sweep
from dmlray.sweep.settings import SweepConfig, SweepFolder
from dmlray.sweep.study import Study, TrialRecord
from tests.ensemble.cases import stores
from tests.sweep.spaces import load_text, quality

SHORT = """
space:
  epochs: 4
  encoder: {choice: {none: {}, gru: {hidden: {int: [8, 64], log: true}}}}
  optimizer: {kind: adam, learning_rate: {float: [1e-3, 0.1], log: true}}
"""
Train = Callable[[Study, TrialRecord], None]


def make_sweep(results: Path, train: Train, trials: int, wanted: int | None = None, space: str = SHORT) -> SweepFolder:
    """A sweep of which ``trials`` were asked for and handed to ``train``, of ``wanted``."""
    results.mkdir(parents=True, exist_ok=True)
    loaded = load_text(results, space)
    config = SweepConfig(
        name="first",
        data=results / "data",
        fingerprints={"train": "aa", "validation": "bb"},
        trials=wanted or trials,
        tracking_uri=f"sqlite:///{results / 'mlflow.db'}",
    )
    folder = create_sweep(results, config, loaded)
    with closing(Study.open(folder.study)) as study:
        for _ in range(trials):
            train(study, study.ask(loaded))
    return folder


def trained(study: Study, trial: TrialRecord) -> None:
    """Every fifth trial fails, every third is stopped after 1 or 2 of 4 epochs."""
    number, draw = trial.number, random.Random(trial.number)
    study.start(number)
    if number % 5 == 4:
        study.fail(number, "out_of_memory", f"epoch 1, step {number}: <script>alert(1)</script> | 20 GiB wanted")
        return
    stop = 1 + number % 2 if number % 3 == 2 else 4
    gaps = []
    for epoch in range(1, stop + 1):
        gaps.append(quality(trial.config) * (1 - math.exp(-epoch)) + draw.gauss(0, 0.01))
        seconds = {"epoch_s": 30 + 20 * draw.random(), "wait_share": 0.1 * draw.random()}
        seconds |= {"evaluation_s": 4 + draw.random(), "checkpoint_s": 0.5}
        study.report(number, epoch, {"val_gap": gaps[-1], **seconds}, f"epoch-{epoch:04d}.safetensors", "aa")
    best = max(range(stop), key=gaps.__getitem__)
    if stop < 4:
        study.prune(number, gaps[best], best + 1, {"val_gap": gaps[best]})
    else:
        study.complete(number, gaps[best], best + 1, {"val_gap": gaps[best], "test_gap": gaps[best] - 0.01})


def failing(study: Study, trial: TrialRecord) -> None:
    """Every trial fails before its first epoch."""
    study.start(trial.number)
    study.fail(trial.number, "data", "train/shard-00000.arrow is damaged")


def add_ensemble(folder: SweepFolder, name: str) -> None:
    """Predictions of the complete trials, and the ensemble chosen from them."""
    with closing(Study.open(folder.study, read_only=True)) as study:
        complete = [trial for trial in study.trials() if trial.state.name == "complete"]
    sizes = {"videos": 200, "classes": 30, "members": len(complete), "keep": 25, "grid": 2**18}
    for file, seed in (("predictions.arrow", 7), ("test_predictions.arrow", 8)):
        for trial, store in zip(complete, stores(seed, **sizes), strict=True):
            save_predictions(folder.trial(trial.number) / file, store)
    candidates = load_candidates((t.number, describe(t.config), folder.trial(t.number)) for t in complete)
    found = search_ensemble(candidates, EnsembleSettings(top=4, size=8, resamples=20))
    save_ensemble(folder.ensemble(name), found.report, found.validation, found.test)
