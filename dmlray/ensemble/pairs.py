"""The stores of several members side by side: every (video, class) pair that any of them kept, once, with all scores.

Few of the ``C`` classes of a video are in any member's top list (237 of 3,862 for 30 real models), so a sparse table
holds what a combination can rank. Blocks of videos keep the work in the processor's caches and the memory bounded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmlray.data.predictions import Predictions
from dmlray.ensemble.parts import take_lists

BLOCK_CELLS = 500_000  # dense cells (videos x classes) looked at together: 130 videos of YouTube-8M


@dataclass(frozen=True)
class PairBlock:
    """``V`` videos and their ``P`` pairs, sorted by video, then by class, for ``E`` members.

    starts (V + 1,) int64: the pairs of video v are ``starts[v]`` to ``starts[v + 1]``; classes (P,) int32; scores
    (E, P) float32, 0 where the member did not keep the class; hits (P,) bool, True where the class is a true label;
    positives: the number of true labels of these videos, kept by a member or not.
    """

    starts: NDArray[np.int64]
    classes: NDArray[np.int32]
    scores: NDArray[np.float32]
    hits: NDArray[np.bool_]
    positives: int

    @property
    def video_of_pair(self) -> NDArray[np.int64]:
        """(P,) int64: the video of each pair, from 0 within the block."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


def pair_blocks(stores: Sequence[Predictions], rows: NDArray[np.int64]) -> Iterator[PairBlock]:
    """The pairs of the videos ``rows`` (M,) of stores that hold the same videos in the same order, block by block."""
    videos = max(1, BLOCK_CELLS // stores[0].classes)
    for first in range(0, len(rows), videos):
        yield _align(stores, rows[first : first + videos])


def scatter(values: NDArray[Any], videos: NDArray[np.int64], count: int, least: int, fill: Any) -> NDArray[Any]:
    """Ragged rows made even: values (..., P), each of a video (P,) in ascending order, give (..., count, W).

    ``W`` is the longest row, at least ``least``; shorter ones end in ``fill``.
    """
    widths = np.bincount(videos, minlength=count)
    width = max(least, int(widths.max(initial=0)))
    within = np.arange(len(videos)) - np.repeat(np.cumsum(widths) - widths, widths)
    even = np.full((*values.shape[:-1], count * width), fill, dtype=values.dtype)
    even[..., videos * width + within] = values
    return even.reshape(*values.shape[:-1], count, width)


def _align(stores: Sequence[Predictions], rows: NDArray[np.int64]) -> PairBlock:
    classes = stores[0].classes
    kept = [np.asarray(store.labels[rows]) + np.arange(len(rows))[:, None] * classes for store in stores]
    seen = np.zeros(len(rows) * classes, dtype=bool)
    for cells in kept:
        seen[cells] = True
    pairs = np.flatnonzero(seen)
    place = np.cumsum(seen, dtype=np.int32) - 1  # where a cell stands among the pairs
    scores = np.zeros((len(stores), len(pairs)), dtype=np.float32)
    for member, (store, cells) in enumerate(zip(stores, kept, strict=True)):
        scores[member, place[cells]] = store.scores[rows]
    true = take_lists(stores[0].truth, rows)
    seen[:] = False
    seen[np.repeat(np.arange(len(rows)), np.diff(true.offsets)) * classes + true.values] = True
    videos, labels = np.divmod(pairs, classes)
    starts = np.searchsorted(videos, np.arange(len(rows) + 1))
    return PairBlock(starts, labels.astype(np.int32), scores, seen[pairs], int(seen.sum()))
