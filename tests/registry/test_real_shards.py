"""One genuine YouTube-8M shard through a package: TFRecord in, GAP out, as the ensemble itself measured it."""

from pathlib import Path

import numpy as np
import pytest

from dmlray.data.dataset import Dataset
from dmlray.data.reader import read_videos
from dmlray.data.schema import PRESETS
from dmlray.metrics.gap import global_average_precision
from dmlray.registry import load_package
from dmlray.registry.evaluate import evaluate_predictions
from dmlray.registry.export import export_package, load_report
from dmlray.registry.predict import finish, planned, predict_here
from tests.data.videos import write_dataset
from tests.registry.sweeps import LINEAR, choose_ensemble, make_sweep

SCHEMA = PRESETS["yt8m-video"]
MODELS = ({**LINEAR, "batch_size": 32}, {**LINEAR, "batch_size": 32, "modalities": ["visual"]})


@pytest.mark.real_data
@pytest.mark.thorough
def test_a_genuine_shard(real_data: Path, tmp_path: Path) -> None:
    shards = real_data / "yt8m_video"
    for split, number in (("train", 0), ("validation", 70), ("test", 80)):
        blocks = list(read_videos(str(shards / f"validate{number:04d}.tfrecord"), SCHEMA))
        write_dataset(tmp_path / "data", SCHEMA, [blocks], split)
    sweep = make_sweep(tmp_path, tmp_path / "data", MODELS)
    choose_ensemble(sweep, len(MODELS), scale="none")
    package = load_package(export_package(sweep, "top5"))

    source, out = str(shards / "validate0080.tfrecord"), tmp_path / "s.csv"
    with planned(package, [source], out, 20, 128) as job:
        predict_here(job, 2, lambda videos, size: None)
        videos = finish(job)
    test = Dataset.open(tmp_path / "data/test")
    assert videos == len(test) == len(out.read_text().splitlines()) - 1
    found = evaluate_predictions(out, [source])
    assert found.figures["gap"].low < found.figures["gap"].value < found.figures["gap"].high
    assert evaluate_predictions(out, [str(test.path)]) == found
    scores, labels = package.predict(test), np.zeros((videos, SCHEMA.classes), bool)
    labels[np.repeat(np.arange(videos), np.diff(test.truth.offsets)), test.truth.values] = True
    dense = global_average_precision(scores, labels)
    assert found.figures["gap"].value == pytest.approx(dense, abs=2e-5)  # six digits a score
    stored = load_report(sweep.ensemble("top5")).figures["ensemble"].test
    assert dense == pytest.approx(stored, abs=2e-3)  # estimated from 50 classes a video
