"""Predictions and true labels brought together by the videos' ids, from whatever files they are in."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dmlray.data.dataset import Dataset
from dmlray.data.find_schema import find_schema
from dmlray.data.location import list_files, locate, reached
from dmlray.data.manifest import MANIFEST
from dmlray.data.predictions import Predictions, load_predictions
from dmlray.data.ragged import Ragged, concatenate
from dmlray.data.reader import read_files
from dmlray.data.schema import load_schema
from dmlray.data.submission import read_submission
from dmlray.errors import DataError, MissingInputError, StorageError, UsageError
from dmlray.registry.predict import read_folder


class Labelled(NamedTuple):
    """Videos with their true labels; ``classes`` is as far as is known of how many there are."""

    ids: NDArray[np.object_]
    truth: Ragged
    classes: int


def read_predictions(path: Path, labelled: Labelled | None) -> Predictions:
    """Predictions with the true labels of ``labelled``, in its order; None takes those that an Arrow file holds.

    Raises MissingInputError for no such path, DataError for a file that holds no whole predictions or other videos,
    StorageError for a folder of `dmlray predict` that is unfinished or damaged, UsageError for a CSV file unlabelled.
    """
    if not path.exists():
        raise MissingInputError(path, "predictions")
    if path.suffix == ".csv":
        if labelled is None:
            raise UsageError(f"{path} holds no true labels: name the videos' source with --labels")
        found = read_submission(path)
        rows = matching_rows(path, found.ids, labelled.ids)
        classes = max(labelled.classes, 1 + int(found.labels.max()))
        return Predictions(labelled.ids, found.labels[rows], found.scores[rows], labelled.truth, classes)
    stored = _stored(path)
    if labelled is None:
        return stored
    rows = matching_rows(path, stored.ids, labelled.ids)
    classes = max(labelled.classes, stored.classes)
    return Predictions(labelled.ids, stored.labels[rows], stored.scores[rows], labelled.truth, classes, stored.meta)


def read_labels(sources: Sequence[str], schema: str | None = None) -> Labelled:
    """Ids and true labels of all videos in ``sources``, in order. ``schema`` is only asked for TFRecords.

    Raises as the readers do, DataError where there is no video.
    """
    parts = [_labels_of(source, schema) for source in sources]
    ids = np.concatenate([part.ids for part in parts])
    if not len(ids):
        raise DataError(sources[0], "holds no video")
    return Labelled(ids, concatenate([part.truth for part in parts]), max(part.classes for part in parts))


def joined(parts: Sequence[Predictions]) -> Predictions:
    """The videos of all parts, in order."""
    return replace(
        parts[0],
        ids=np.concatenate([part.ids for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        truth=concatenate([part.truth for part in parts]),
    )


def matching_rows(path: Path, found: NDArray[np.object_], wanted: NDArray[np.object_]) -> NDArray[np.int64]:
    """Rows (M,) of ``found`` that are the videos ``wanted`` (M,): the n-th of an id is the n-th of that id.

    Raises DataError naming ``path`` and a video that either lacks.
    """
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place in range(len(found) - 1, -1, -1):
        places[found[place]].append(place)
    rows = np.array([places[video].pop() if places.get(video) else -1 for video in wanted], np.int64)
    if (rows < 0).any():
        lacking = np.flatnonzero(rows < 0)
        raise DataError(path, f"lacks {len(lacking)} of the {len(wanted)} videos, the first is {wanted[lacking[0]]!r}")
    if left := [video for video, rest in places.items() if rest]:
        raise DataError(path, f"holds {len(found)} videos where {len(wanted)} were labelled, one more is {left[0]!r}")
    return rows


def _stored(path: Path) -> Predictions:
    if path.is_file():
        try:
            return load_predictions(path)
        except StorageError as error:
            hint = "" if path.suffix == ".arrow" else "; the name of a CSV file must end in .csv"
            raise DataError(path, f"{error.problem}{hint}") from error
    return joined(read_folder(path))


def _labels_of(source: str, schema: str | None) -> Labelled:
    if (Path(source) / MANIFEST).is_file():
        dataset = Dataset.open(Path(source))
        return Labelled(np.array(dataset.ids, dtype=object), dataset.truth, dataset.schema.classes)
    location = locate(source)
    files = list_files(location)
    found = load_schema(schema) if schema else find_schema(location, files)
    ids: list[str] = []
    truths: list[Ragged] = []
    with reached(location):
        paths = [location.path(file.name) for file in files]
        for block, _ in read_files(paths, found, filesystem=location.filesystem):
            ids += block.ids
            truths.append(Ragged(block.label_offsets, block.label_values))
    return Labelled(np.array(ids, dtype=object), concatenate(truths), found.classes)
