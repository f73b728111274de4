"""Which videos an ensemble is chosen on, and which only tell how good it is."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dmlray.data.predictions import Predictions
from dmlray.data.ragged import Ragged
from dmlray.metrics.gap import gap_from_top
from dmlray.seeding import share

Rows = NDArray[np.int64]


def split_videos(ids: Sequence[str] | NDArray[np.object_], report_split: float) -> tuple[Rows, Rows]:
    """Places of the videos to select on and of those to report on, a share ``report_split`` of all, both ascending.

    By hash of the id: it depends on no order, and equal ids stay together.
    """
    reported = np.array([share(str(video), "ensemble report") < report_split for video in ids], dtype=bool)
    return np.flatnonzero(~reported), np.flatnonzero(reported)


def gap_on(predictions: Predictions, rows: Rows) -> float:
    """GAP@20 of the videos ``rows`` (M,)."""
    truth = take_lists(predictions.truth, rows)
    return gap_from_top(predictions.labels[rows], predictions.scores[rows], truth.offsets, truth.values)


def take_lists(ragged: Ragged, rows: Rows) -> Ragged:
    """The lists ``rows`` (M,), in that order."""
    starts = ragged.offsets[rows]
    counts = ragged.offsets[rows + 1] - starts
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return Ragged(offsets, ragged.values[np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], counts)])
