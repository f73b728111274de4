"""Kaggle's CSV files: what was written is read, and what is no submission is named."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmlray.data.predictions import Predictions
from dmlray.data.ragged import Ragged
from dmlray.data.submission import read_submission, write_submission
from dmlray.errors import DataError, MissingInputError

HEADER = "VideoId,LabelConfidencePairs\n"


def predictions(ids: list[str], classes: int, seed: int, keep: int = 25) -> Predictions:
    random = np.random.default_rng(seed)
    labels = np.array([random.permutation(classes)[:keep] for _ in ids], np.int32).reshape(len(ids), -1)
    scores = -np.sort(-random.random(labels.shape), axis=1).astype(np.float32)
    none = Ragged(np.zeros(len(ids) + 1, np.int64), np.empty(0, np.int64))
    return Predictions(np.array(ids, dtype=object), labels, scores, none, classes)


@given(
    ids=st.lists(st.text("ab,\"' -é", min_size=1, max_size=4), min_size=1, max_size=5),
    classes=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_reads_what_was_written(
    ids: list[str], classes: int, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parts = [predictions(ids, classes, seed), predictions(ids, classes, seed + 1)]
    text = io.StringIO(newline="")
    assert write_submission(text, parts) == 2 * len(ids)
    path = tmp_path_factory.mktemp("csv") / "s.csv"
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    found = read_submission(path)
    assert found.ids.tolist() == ids * 2
    np.testing.assert_array_equal(found.labels, np.concatenate([part.labels[:, :20] for part in parts]))
    np.testing.assert_allclose(found.scores, np.concatenate([part.scores[:, :20] for part in parts]), rtol=1e-5)


def test_the_official_form() -> None:
    text = io.StringIO()
    labels, scores = np.array([[3, 0]], np.int32), np.array([[0.5, 1.25e-7]], np.float32)
    none = Ragged(np.zeros(2, np.int64), np.empty(0, np.int64))
    write_submission(text, [Predictions(np.array(["abcd"], dtype=object), labels, scores, none, 4)])
    assert text.getvalue() == HEADER + "abcd,3 0.5 0 1.25e-07\n"


def test_short_and_unsorted_lists(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(HEADER + "a,1 0.2 5 0.9\nb,0 0.5\nc,\n")
    found = read_submission(tmp_path / "s.csv")
    assert found.labels.tolist() == [[5, 1], [0, 1], [0, 1]]
    np.testing.assert_allclose(found.scores, [[0.9, 0.2], [0.5, 0], [0, 0]])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("VideoId,Labels\na,1 0.5\n", "must begin with the line VideoId,LabelConfidencePairs"),
        ("", "must begin with the line"),
        (HEADER, "holds no video"),
        (HEADER + "a,1 0.5\nb,1 0.5,3\n", r"record 1\): must have 2 columns, found 3"),
        (HEADER + "a,1 0.5 2\n", "found 2 labels and 1 confidences"),
        (HEADER + "a,1 0.5 x 0.4\n", "pairs of a label and a confidence"),
        (HEADER + "a,1 nan\n", "confidences from 0 to 1, found nan"),
        (HEADER + "a,1 1.5\n", "confidences from 0 to 1, found 1.5"),
        (HEADER + "a,-1 0.5\n", "labels from 0 on, found -1"),
        (HEADER + "a,1 0.5 1 0.4\n", "holds a label twice"),
        (HEADER + "a\0,1 0.5\n\xff", "CSV file in UTF-8|must have 2 columns"),
    ],
)
def test_what_is_no_submission_is_named(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=problem):
        read_submission(tmp_path / "s.csv")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        read_submission(tmp_path / "s.csv")
