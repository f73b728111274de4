"""On a synthetic world, models find what they are made for: order needs a model of time, and both modalities count."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmlray.data.predictions import Predictions, load_predictions
from dmlray.data.ragged import Ragged
from dmlray.data.reader import VideoBlock
from dmlray.data.synthetic import schema_of
from dmlray.data.synthetic_world import BACKWARD, FORWARD, SynthSpec, World
from dmlray.metrics.gap import gap_from_top
from tests.data.videos import write_dataset
from tests.train.trials import make_task, run

SPEC = SynthSpec(train=1400, validation=400, test=600, max_frames=40)
CLEAR, MORE = 0.05, 0.02  # of GAP

BAG: Mapping[str, Any] = {"epochs": 8, "batch_size": 32, "optimizer": {"kind": "adam", "learning_rate": 0.02}}
GRU: Mapping[str, Any] = {
    **BAG,
    "encoder": {"kind": "gru", "hidden": 48, "bidirectional": True},
    "pooling": {"kind": "attention"},
    "optimizer": {"kind": "adam", "learning_rate": 0.01},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, world = tmp_path_factory.mktemp("synthetic"), World(SPEC)
    for split in ("train", "validation", "test"):
        block = videos(world, split, getattr(SPEC, split))
        write_dataset(folder, schema_of(SPEC), [[block]], split)
    return folder


def videos(world: World, split: str, count: int) -> VideoBlock:
    found = list(world.videos(split, 0, count))
    return VideoBlock(
        ids=[f"{split}{number}" for number in range(count)],
        label_offsets=np.cumsum([0, *(len(video.labels) for video in found)]),
        label_values=np.concatenate([video.labels for video in found]),
        features={name: np.concatenate([getattr(video, name) for video in found]) for name in ("visual", "audio")},
        frame_offsets=np.cumsum([0, *(len(video.visual) for video in found)]),
    )


def predict(data: Path, folder: Path, config: Mapping[str, Any]) -> Predictions:
    """What the trial's best epoch says about the test videos: all of their classes, since these are few."""
    task = make_task(data, folder, config)
    run(task)
    return load_predictions(task.directory / "test_predictions.arrow")


def gap_of(predictions: Predictions, classes: np.ndarray[Any, np.dtype[np.int64]]) -> float:
    """GAP@20 of these ``classes`` alone."""
    asked = np.isin(predictions.labels, classes)
    order = np.argsort(~asked, axis=1, kind="stable")[:, : len(classes)]  # asked ones first, best first as before
    truth: Ragged = predictions.truth
    wanted = np.isin(truth.values, classes)
    offsets = np.concatenate([[0], np.cumsum(wanted)])[truth.offsets]
    columns = (np.take_along_axis(part, order, axis=1) for part in (predictions.labels, predictions.scores))
    return gap_from_top(*columns, offsets, truth.values[wanted])


@pytest.mark.slow
def test_only_a_model_of_time_tells_order(data: Path, tmp_path: Path) -> None:
    role = World(SPEC).role
    ordered, others = (np.flatnonzero(np.isin(role, (FORWARD, BACKWARD)) == is_ordered) for is_ordered in (True, False))
    bag, gru = (predict(data, tmp_path / name, config) for name, config in (("bag", BAG), ("gru", GRU)))
    lead = gap_of(gru, ordered) - gap_of(bag, ordered)
    assert lead > CLEAR
    assert lead > gap_of(gru, others) - gap_of(bag, others)  # it is order that the bag of frames lacks most


@pytest.mark.slow
def test_both_modalities_tell_more_than_either(data: Path, tmp_path: Path) -> None:
    every = np.arange(SPEC.classes)
    gaps = {
        names: gap_of(predict(data, tmp_path / "+".join(names), {**BAG, "modalities": names}), every)
        for names in (("visual", "audio"), ("visual",), ("audio",))
    }
    both = gaps.pop(("visual", "audio"))
    assert all(both > alone + MORE for alone in gaps.values()), (both, gaps)
