"""Predictions as Kaggle's YouTube-8M challenges took them: a CSV file with the columns VideoId,LabelConfidencePairs.

The second column holds a video's best labels, each followed by its confidence, all separated by spaces and best first;
the official code writes them with "%i %g" (google/youtube-8m, ``inference.py``).
"""

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from dmlray.data.predictions import Predictions
from dmlray.errors import DataError, MissingInputError

HEADER = ("VideoId", "LabelConfidencePairs")
PAIRS = 20


@dataclass(frozen=True)
class Submission:
    """N videos in the order of the file: ids (N,); labels (N, K) int32 by descending scores (N, K) float32.

    K is the longest list; shorter ones go on with labels that they lack, at score 0.
    """

    ids: NDArray[np.object_]
    labels: NDArray[np.int32]
    scores: NDArray[np.float32]


def write_submission(file: TextIO, parts: Iterable[Predictions]) -> int:
    """Write the `PAIRS` best labels of every video, part after part; gives the number of videos."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEADER)
    videos = 0
    for part in parts:
        labels, scores = part.labels[:, :PAIRS].tolist(), part.scores[:, :PAIRS].tolist()
        for video, best, confidences in zip(part.ids, labels, scores, strict=True):
            pairs = " ".join(f"{label:d} {score:g}" for label, score in zip(best, confidences, strict=True))
            writer.writerow((video, pairs))
        videos += len(part)
    return videos


def read_submission(path: Path) -> Submission:
    """Raises MissingInputError for no such file; DataError naming the row (from 0) of what is no submission: another
    header, pairs that are not a label and a confidence from 0 to 1, a label that comes twice."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(_rows(path, file))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingInputError(path, "CSV file of predictions") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"is not a CSV file in UTF-8 ({error})") from error
    if not rows:
        raise DataError(path, "holds no video")
    width = max(1, *(len(labels) for _, labels, _ in rows))
    labels = np.empty((len(rows), width), np.int32)
    scores = np.zeros((len(rows), width), np.float32)
    for number, (_, mine, confidences) in enumerate(rows):
        labels[number] = [*mine, *_lacking(mine, width - len(mine))]
        scores[number, : len(mine)] = confidences
    order = np.argsort(-scores, axis=1, kind="stable")
    return Submission(
        np.array([video for video, _, _ in rows], dtype=object),
        np.take_along_axis(labels, order, axis=1),
        np.take_along_axis(scores, order, axis=1),
    )


def _rows(path: Path, file: TextIO) -> Iterator[tuple[str, list[int], list[float]]]:
    reader = csv.reader(file)
    if (header := tuple(next(reader, ()))) != HEADER:
        raise DataError(path, f"must begin with the line {','.join(HEADER)}, found {','.join(header)[:60]!r}")
    for number, row in enumerate(reader):
        if len(row) != len(HEADER):
            raise DataError(path, f"must have 2 columns, found {len(row)}", record=number)
        words = row[1].split()
        try:
            labels, scores = [int(word) for word in words[::2]], [float(word) for word in words[1::2]]
        except ValueError as error:
            raise DataError(path, f"must hold pairs of a label and a confidence ({error})", record=number) from error
        if problem := _problem(labels, scores):
            raise DataError(path, problem, record=number)
        yield row[0], labels, scores


def _problem(labels: list[int], scores: list[float]) -> str | None:
    if len(labels) != len(scores):
        return f"must hold pairs of a label and a confidence, found {len(labels)} labels and {len(scores)} confidences"
    if not all(0 <= label < 2**31 for label in labels):
        return f"must hold labels from 0 on, found {min(labels)} to {max(labels)}"
    if len(set(labels)) < len(labels):
        return "holds a label twice"
    bad = [score for score in scores if math.isnan(score) or not 0 <= score <= 1]
    return f"must hold confidences from 0 to 1, found {bad[0]:g}" if bad else None


def _lacking(labels: list[int], count: int) -> list[int]:
    """The lowest ``count`` labels that are not among ``labels``."""
    have = set(labels)
    return [label for label in range(len(labels) + count) if label not in have][:count]
