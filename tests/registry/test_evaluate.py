"""Measures of predictions from any file are those of the metrics themselves, and every video is matched."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dmlray.data.predictions import Predictions, save_predictions
from dmlray.data.ragged import Ragged
from dmlray.data.submission import write_submission
from dmlray.ensemble.parts import take_lists
from dmlray.errors import DataError, MissingInputError, UsageError
from dmlray.metrics.evaluation import Evaluation
from dmlray.registry.evaluate import _Ranked, evaluate_predictions, measure
from dmlray.registry.labelled import read_labels
from dmlray.registry.outside import load_outside
from tests.data.videos import VIDEO, random_block, write_dataset, write_tfrecords

CLASSES = 20


def stored(seed: int, videos: int = 15, keep: int = 20) -> tuple[Predictions, np.ndarray, np.ndarray]:
    """Predictions of `random_block`'s videos with their dense scores and padded labels."""
    block = random_block(VIDEO, videos, seed=seed)
    random = np.random.default_rng(seed)
    scores = (random.permutation(videos * CLASSES).reshape(videos, CLASSES) + 1).astype(np.float32) / 1000  # no ties
    labels = np.argsort(-scores, axis=1)[:, :keep].astype(np.int32)
    truth = Ragged(block.label_offsets, block.label_values)
    padded = np.full((videos, 3), -1)
    for row in range(videos):
        padded[row, : len(truth.list_of(row))] = truth.list_of(row)
    best = np.take_along_axis(scores, labels.astype(int), axis=1)
    return Predictions(np.array(block.ids, dtype=object), labels, best, truth, CLASSES), scores, padded


@given(seed=st.integers(0, 50))
def test_figures_are_those_of_the_metrics(seed: int) -> None:
    predictions, scores, labels = stored(seed)
    evaluation = Evaluation(CLASSES)
    evaluation.add(torch.from_numpy(scores), torch.from_numpy(labels), np.arange(len(scores)))
    found = measure(predictions, resamples=3)
    for name, value in evaluation.metrics().items():
        assert found.figures[name].value == pytest.approx(value), name
    assert (found.videos, found.labels) == (15, int((labels >= 0).sum()))


@given(seed=st.integers(0, 50))
def test_a_resample_is_measured_as_if_videos_stood_there_so_often(seed: int) -> None:
    predictions, _, _ = stored(seed)
    times = np.random.default_rng(seed).integers(0, 4, len(predictions))
    rows = np.repeat(np.arange(len(predictions)), times)
    copied = Predictions(
        predictions.ids[rows], predictions.labels[rows], predictions.scores[rows],
        take_lists(predictions.truth, rows), CLASSES,
    )  # fmt: skip
    plain = measure(copied, resamples=2)
    for name, value in _Ranked(predictions).measures(times).items():
        assert value == pytest.approx(plain.figures[name].value), name


def test_intervals_hold_the_value_and_shrink() -> None:
    few, many = measure(stored(1, videos=40)[0]), measure(stored(1, videos=640)[0])
    for name in ("gap", "hit1", "perr"):
        assert few.figures[name].low <= few.figures[name].value <= few.figures[name].high
        assert many.figures[name].high - many.figures[name].low < few.figures[name].high - few.figures[name].low


def test_every_file_gives_the_same_figures(tmp_path: Path) -> None:
    predictions, _, _ = stored(3)
    write_tfrecords(tmp_path / "tf/a.tfrecord", VIDEO, random_block(VIDEO, 15, seed=3))
    write_dataset(tmp_path, VIDEO, [[random_block(VIDEO, 15, seed=3)]], "split")
    save_predictions(tmp_path / "p.arrow", predictions)
    order = np.random.default_rng(0).permutation(15)
    shuffled = Predictions(
        predictions.ids[order], predictions.labels[order], predictions.scores[order],
        take_lists(predictions.truth, order), CLASSES,
    )  # fmt: skip
    with (tmp_path / "s.csv").open("w", newline="") as file:
        write_submission(file, [shuffled])
    expected = measure(predictions)
    (tmp_path / "schema.yaml").write_text(
        "level: video\nclasses: 20\nmodalities:\n"
        "- {name: visual, feature: mean_rgb, width: 6, dtype: float32}\n"
        "- {name: audio, feature: mean_audio, width: 3, dtype: float32}\n"
    )
    schema = str(tmp_path / "schema.yaml")
    assert evaluate_predictions(tmp_path / "p.arrow") == expected
    for path in ("p.arrow", "s.csv"):
        assert evaluate_predictions(tmp_path / path, [str(tmp_path / "split")]) == expected
        assert evaluate_predictions(tmp_path / path, [str(tmp_path / "tf/*")], schema) == expected


def test_videos_that_share_an_id_are_matched_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("VideoId,LabelConfidencePairs\na,0 0.9\nb,1 0.8\na,2 0.7\n")
    block = random_block(VIDEO, 3)
    block.ids[:] = ["a", "a", "b"]
    write_dataset(tmp_path, VIDEO, [[block]], "split")
    labelled = read_labels([str(tmp_path / "split")])
    (member,) = load_outside([tmp_path / "s.csv"], _dataset(tmp_path / "split"))
    assert labelled.ids.tolist() == member.validation.ids.tolist() == ["a", "a", "b"]
    assert member.validation.labels[:, 0].tolist() == [0, 2, 1]
    assert member.trial == -1


def _dataset(path: Path):  # type: ignore[no-untyped-def]
    from dmlray.data.dataset import Dataset

    return Dataset.open(path)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    predictions, _, _ = stored(3)
    split = write_dataset(tmp_path, VIDEO, [[random_block(VIDEO, 16, seed=3)]], "split")
    save_predictions(tmp_path / "p.arrow", predictions)
    with pytest.raises(DataError, match="lacks 1 of the 16 videos, the first is '3-15'"):
        evaluate_predictions(tmp_path / "p.arrow", [str(split.path)])
    save_predictions(tmp_path / "q.arrow", stored(3, videos=17)[0])
    with pytest.raises(DataError, match="holds 17 videos where 16 were labelled, one more is '3-16'"):
        evaluate_predictions(tmp_path / "q.arrow", [str(split.path)])
    (tmp_path / "s.csv").write_text("VideoId,LabelConfidencePairs\n" + "".join(f"3-{n},20 0.5\n" for n in range(16)))
    with pytest.raises(UsageError, match="--labels"):
        evaluate_predictions(tmp_path / "s.csv")
    with pytest.raises(DataError, match="labels up to 20, the data has 20 classes"):
        load_outside([tmp_path / "s.csv"], split)
    with pytest.raises(MissingInputError):
        evaluate_predictions(tmp_path / "none", [str(split.path)])
    with pytest.raises(MissingInputError):
        evaluate_predictions(tmp_path / "p.arrow", [str(tmp_path / "nowhere")])


def test_a_file_that_is_none_of_predictions_is_bad_data(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text("VideoId,LabelConfidencePairs\n")
    with pytest.raises(DataError, match=r"s\.txt: is not a whole file of predictions .*CSV file must end in \.csv"):
        evaluate_predictions(tmp_path / "s.txt")
    save_predictions(tmp_path / "p.arrow", stored(3)[0])
    damaged = bytearray((tmp_path / "p.arrow").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "p.arrow").write_bytes(damaged)
    with pytest.raises(DataError, match=r"p\.arrow: is not a whole file of predictions \([^;]*\)$"):
        evaluate_predictions(tmp_path / "p.arrow")


def test_labels_are_needed(tmp_path: Path) -> None:
    predictions, _, _ = stored(3)
    none = Ragged(np.zeros(16, np.int64), np.empty(0, np.int64))
    blind = Predictions(predictions.ids, predictions.labels, predictions.scores, none, CLASSES)
    save_predictions(tmp_path / "p.arrow", blind)
    with pytest.raises(DataError, match="none of its videos has a label"):
        evaluate_predictions(tmp_path / "p.arrow")
