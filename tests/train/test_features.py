"""Whatever a configuration switches on: a trial learns, and one that was cut off ends as if it had run through."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dmlray.train.checkpoint import load_checkpoint
from tests.train.trials import LOGISTIC, Ran, files, make_task, run

COSINE = {"kind": "cosine", "floor": 0.1}
FLAT = {"kind": "staircase", "decay": 0.5, "decay_examples": 1000, "flat_examples": 16, "flat_below": 0.2}
FEATURES: dict[str, dict[str, Any]] = {
    "adamw with cosine and warm-up": {
        "optimizer": {"kind": "adamw", "learning_rate": 0.1, "schedule": COSINE, "warmup_examples": 32}
    },
    "schedule-free": {"optimizer": {"kind": "schedule_free", "learning_rate": 0.1, "weight_decay": 0.01}},
    "staircase that falls faster when flat": {
        "optimizer": {"kind": "adam", "learning_rate": 0.1, "schedule": FLAT, "clip_norm": None}
    },
    "moving average": {"optimizer": {"kind": "adam", "learning_rate": 0.1, "ema_decay": 0.9}},
    "mixup": {"mixup": 0.4},
    "modality dropout": {"modality_dropout": 0.3},
    "smooth and weighted labels": {"loss": {"label_smoothing": 0.02, "positive_weight": 2.0}},
    "chained mixtures": {"head": {"kind": "chained", "link_dim": 4, "gating": "both"}},
    "hidden layers": {"hidden": {"kind": "residual", "dim": 16, "layers": 2, "dropout": 0.2}, "mixup": 0.2},
}


@pytest.mark.thorough
@pytest.mark.parametrize("feature", FEATURES.values(), ids=FEATURES)
def test_resume_is_exact(data: Path, tmp_path: Path, feature: dict[str, Any]) -> None:
    task = make_task(data, tmp_path / "whole", {**LOGISTIC, **feature})
    whole = run(task)
    first = run(replace(task, directory=tmp_path / "cut"), stop_after=2)
    second = run(first.resumed())
    assert first.curve() + second.curve() == whole.curve()
    assert replace(second.outcome, resumed_from=None) == whole.outcome
    assert files(first.task) == files(task)
    assert whole.curve()[-1]["train_loss"] < whole.curve()[0]["train_loss"]


def test_the_average_is_what_predicts_and_both_are_kept(data: Path, tmp_path: Path, whole: Ran) -> None:
    averaged = run(make_task(data, tmp_path, {**LOGISTIC, **FEATURES["moving average"]}))
    assert [epoch["train_loss"] for epoch in averaged.curve()] == [epoch["train_loss"] for epoch in whole.curve()]
    assert averaged.curve()[0]["val_loss"] != whole.curve()[0]["val_loss"]
    last = averaged.task.directory / "checkpoints" / averaged.reports[-1].checkpoint
    state = load_checkpoint(last, averaged.reports[-1].digest, averaged.task.config)
    assert state.trained is not None
    assert state.trained.keys() == state.model.keys()
    assert any(not state.trained[name].equal(state.model[name]) for name in state.model)
    assert state.average_steps == 15
