"""A sweep whose training videos come straight from TFRecords."""

import json
import math
import shutil
from pathlib import Path

import pytest

from tests.data.videos import FRAME, random_block, write_dataset, write_tfrecords
from tests.system.conftest import Command

SPACE = "trials: 2\nspace: {epochs: 2, optimizer: {kind: adam, learning_rate: {float: [1e-3, 1e-1], log: true}}}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Shards to train on, converted validation and test splits, a space."""
    for number in range(3):
        write_tfrecords(tmp_path / f"tf/train{number}.tfrecord", FRAME, random_block(FRAME, 30, number))
    for seed, split in enumerate(("validation", "test"), start=10):
        write_dataset(tmp_path / "data", FRAME, [[random_block(FRAME, 20, seed)]], split)
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path


def test_what_cannot_be_streamed_is_refused_before_anything_starts(dmlray: Command, folder: Path) -> None:
    def refused(code: int, message: str, source: str) -> None:
        answer = dmlray("search", "--data", "data", "--space", "space.yaml", "--name", "s", "--stream", source)
        assert answer.code == code
        assert message in answer.err
        assert not (folder / "results/s").exists()

    refused(66, "TFRecord files (*.tfrecord*) that match validate*", "tf/validate*")
    refused(66, "nowhere", "nowhere")
    other = FRAME.modalities[0].model_copy(update={"feature": "mean_rgb"})
    schema = FRAME.model_copy(update={"modalities": (other, *FRAME.modalities[1:])})
    write_tfrecords(folder / "other/a.tfrecord", schema, random_block(schema, 3))
    refused(65, "a.tfrecord (record 0, byte 0)", "other")
    shutil.rmtree(folder / "data/validation")
    refused(66, "data/validation", "tf")


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # SQLAlchemy, of MLflow's models
def test_a_streamed_sweep(ray_session: None, dmlray: Command, folder: Path) -> None:
    search = ("search", "--data", "data", "--space", "space.yaml", "--name", "s", "--stream", "tf/train*")
    answer = dmlray(*search, "--concurrency", 2)  # all CPUs are the trials': reading must not wait for one
    assert answer.code == 0, answer.err
    trials = json.loads(dmlray("top", "s", "--json").out)["trials"]
    assert len(trials) == 2
    assert all(math.isfinite(trial["val_gap"]) for trial in trials)
    assert dmlray("report", "s").code == 0

    assert "--stream was settled" in dmlray("search", "--resume", "s", "--stream", "tf").err
    write_tfrecords(folder / "tf/train3.tfrecord", FRAME, random_block(FRAME, 1, 3))
    changed = dmlray("search", "--resume", "s", "--trials", 3)
    assert changed.code == 74
    assert "tf/train*: is not the data that sweep 's' was started on" in changed.err
