"""A finished sweep of small trials with an ensemble, made without Ray."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dmlray.config import TrialConfig
from dmlray.data.schema import Schema
from dmlray.ensemble.candidates import load_candidates
from dmlray.ensemble.choice import EnsembleSettings
from dmlray.ensemble.report import save_ensemble
from dmlray.ensemble.search import search_ensemble
from dmlray.seeding import derive_seed
from dmlray.sweep.inputs import open_inputs
from dmlray.sweep.settings import SweepConfig, SweepFolder, save_settings
from dmlray.train.task import TrialTask
from dmlray.train.trial import run_trial
from tests.train.trials import write_data

LINEAR: Mapping[str, Any] = {"epochs": 2, "batch_size": 16, "optimizer": {"kind": "adam", "learning_rate": 0.1}}
VIDEO_MODELS = (LINEAR, {**LINEAR, "modalities": ["visual"]}, {**LINEAR, "fusion": {"kind": "shared", "dim": 5}})
FRAME_MODELS = (
    {**LINEAR, "frames": {"select": "random", "count": 3}},
    {**LINEAR, "encoder": {"kind": "gru", "hidden": 4}, "pooling": {"kind": "attention"}},
)


def make_sweep(folder: Path, data: Path, models: tuple[Mapping[str, Any], ...], name: str = "first") -> SweepFolder:
    """Train one trial for each of ``models`` on the splits in ``data``; the sweep lies in ``folder``/results."""
    sweep = SweepFolder(folder / "results", name)
    config = SweepConfig(
        name=name,
        data=data.absolute(),
        fingerprints=open_inputs(data, None).fingerprints,
        trials=len(models),
        tracking_uri=f"sqlite:///{folder.absolute()}/results/mlflow.db",
    )
    for number, model in enumerate(models):
        seed = derive_seed(config.seed, "trial", number)
        task = TrialTask(name, number, TrialConfig.model_validate(model), data, sweep.trial(number), seed)
        run_trial(task, lambda report: True, torch.device("cpu"))
    save_settings(sweep, config)
    return sweep


def choose_ensemble(sweep: SweepFolder, trials: int, name: str = "top5", **settings: Any) -> None:
    """Choose among the first ``trials`` trials, as `dmlray ensemble` does."""
    candidates = load_candidates((number, f"model {number}", sweep.trial(number)) for number in range(trials))
    found = search_ensemble(candidates, replace(EnsembleSettings(resamples=20, weights="uniform"), **settings))
    save_ensemble(sweep.ensemble(name), found.report, found.validation, found.test)


def sweep_of(folder: Path, schema: Schema, models: tuple[Mapping[str, Any], ...]) -> SweepFolder:
    """A sweep over small splits of ``schema`` with the ensemble ``top5``."""
    sweep = make_sweep(folder, write_data(folder / "data", schema), models)
    choose_ensemble(sweep, len(models))
    return sweep
