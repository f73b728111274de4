"""Whatever a configuration switches on: a trial learns, and one that was cut off ends as if it had run through."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from dmlray.data.dataset import Dataset
from dmlray.data.predictions import Predictions, load_predictions, save_predictions
from dmlray.data.ragged import Ragged
from dmlray.errors import StorageError, TrainingError
from dmlray.train.checkpoint import load_checkpoint
from tests.train.trials import GRU, LOGISTIC, VIDEOS, Ran, files, log_lines, make_task, run

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
    "average of the last checkpoints": {"average_last": 4},
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


EVERYTHING = {
    "mixup": 0.3,
    "modality_dropout": 0.2,
    "average_last": 3,
    "hidden": {"kind": "residual", "dim": 12, "dropout": 0.1},
    "head": {"kind": "chained", "link_dim": 4, "gating": "before", "dropout": 0.1},
    "optimizer": {
        "kind": "adamw",
        "learning_rate": 0.05,
        "schedule": COSINE,
        "warmup_examples": 20,
        "ema_decay": 0.8,
    },
}


@pytest.mark.thorough
def test_a_trial_with_everything_at_once_distils_its_teacher_exactly(
    data: Path, frame_data: Path, tmp_path: Path
) -> None:
    teacher = teach(data, tmp_path / "teacher.arrow")
    loss = {"label_smoothing": 0.01, "positive_weight": 1.5, "distillation": {"predictions": str(teacher)}}
    task = make_task(frame_data, tmp_path / "whole", {**GRU, **EVERYTHING, "loss": loss})
    whole = run(task)
    first = run(replace(task, directory=tmp_path / "cut"), stop_after=2)
    second = run(first.resumed())
    assert first.curve() + second.curve() == whole.curve()
    assert files(first.task) == files(task)


def test_a_trial_begun_with_another_teacher_starts_again(data: Path, tmp_path: Path) -> None:
    teacher = teach(data, tmp_path / "teacher.arrow")
    distilled = {**LOGISTIC, "loss": {"distillation": {"predictions": str(teacher), "weight": 0.7}}}
    first = run(make_task(data, tmp_path / "0", distilled), stop_after=1)
    teach(data, teacher, score=0.5)
    again = run(first.resumed(), stop_after=1)
    assert again.outcome.resumed_from is None
    assert "the checkpoint of other data" in again.outcome.warnings[0]


def test_a_teacher_that_lacks_videos_ends_the_trial_with_its_name(data: Path, tmp_path: Path) -> None:
    teacher = teach(data, tmp_path / "teacher.arrow", videos=40)
    distilled = {**LOGISTIC, "loss": {"distillation": {"predictions": str(teacher)}}}
    with pytest.raises(
        TrainingError, match=r"teacher\.arrow: holds no prediction of the training video '0-4\d'"
    ) as found:
        run(make_task(data, tmp_path / "0", distilled))
    assert found.value.reason == "data"


def teach(data: Path, path: Path, videos: int = VIDEOS["train"], score: float = 0.9) -> Path:
    """Predictions of training videos that are sure of one label each."""
    dataset = Dataset.open(data / "train")
    truth = Ragged(np.zeros(videos + 1, dtype=np.int64), np.zeros(0, dtype=np.int64))
    ids = np.array([f"0-{number}" for number in range(videos)], dtype=object)
    labels = (np.arange(videos, dtype=np.int32) % dataset.schema.classes)[:, None]
    scores = np.full((videos, 1), score, dtype=np.float32)
    save_predictions(path, Predictions(ids, labels, scores, truth, dataset.schema.classes))
    return path


@pytest.mark.parametrize(("rate", "better"), [(0.1, "last"), (0.5, "averaged")])
def test_the_mean_of_the_last_checkpoints_is_taken_where_it_is_better(
    data: Path, tmp_path: Path, rate: float, better: str
) -> None:
    optimizer = {"kind": "adam", "learning_rate": rate}
    ran = run(make_task(data, tmp_path, {**LOGISTIC, "average_last": 3, "optimizer": optimizer}))
    *before, last = ran.reports
    assert all("val_gap_averaged" not in report.metrics for report in before)
    gaps = {name: last.metrics[f"val_gap_{name}"] for name in ("last", "averaged")}
    assert last.metrics["val_gap"] == max(gaps.values()) == gaps[better]
    states = [
        load_checkpoint(tmp_path / "checkpoints" / report.checkpoint, report.digest, ran.task.config)
        for report in ran.reports[2:]
    ]
    trained = states[-1].trained or states[-1].model
    models = [states[0].model, states[1].model, trained]
    mean = {name: torch.stack([model[name] for model in models]).mean(dim=0) for name in trained}
    expected = mean if better == "averaged" else trained
    assert all(torch.allclose(states[-1].model[name], expected[name], atol=1e-6) for name in mean)
    assert load_predictions(tmp_path / "predictions.arrow").meta["checkpoint"] == last.digest


def test_a_lost_checkpoint_is_not_averaged(data: Path, tmp_path: Path) -> None:
    first = run(make_task(data, tmp_path, {**LOGISTIC, "average_last": 4}), stop_after=4)
    (tmp_path / "checkpoints" / first.reports[1].checkpoint).unlink()
    again = run(first.resumed())
    assert "val_gap_averaged" not in again.reports[-1].metrics
    warnings = [line["warning"] for line in log_lines(first.task) if "warning" in line]
    assert [text for text in warnings if "not averaged" in text]


def test_a_checkpoint_without_the_newer_fields_still_loads(whole: Ran, tmp_path: Path) -> None:
    report = whole.reports[-1]
    path = whole.task.directory / "checkpoints" / report.checkpoint
    tensors, header = safetensors.torch.load_file(path), header_of(path)
    for field in ("history", "average_steps", "micro_batch", "scaler"):
        del header[field]
    for field in ("hidden", "loss", "mixup", "modality_dropout", "average_last"):
        del header["config"][field]
    safetensors.torch.save_file(tensors, tmp_path / "old", {"dmlray": json.dumps(header)})
    assert load_checkpoint(tmp_path / "old", None, whole.task.config).epoch == report.epoch
    with pytest.raises(StorageError, match=r"`mixup` is 0\.0 there and 0\.5 here"):
        load_checkpoint(tmp_path / "old", None, whole.task.config.model_copy(update={"mixup": 0.5}))


def header_of(path: Path) -> dict[str, Any]:
    with safetensors.safe_open(path, "pt") as file:
        found: dict[str, Any] = json.loads(file.metadata()["dmlray"])
    return found
