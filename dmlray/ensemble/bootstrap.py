"""How sure a gain is: paired bootstrap over videos (Efron and Tibshirani, 1993, chapter 13).

The order in which two models rank their pairs does not change when videos are drawn again, only how often each pair
counts; so every resample costs two passes over sorted arrays and no sorting.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmlray.data.predictions import Predictions
from dmlray.ensemble.parts import Rows, take_lists
from dmlray.metrics.gap import TOP, descending_order
from dmlray.metrics.truth import Truth


@dataclass(frozen=True)
class Ranking:
    """``M`` pooled pairs by descending score: videos (M,) int64, hits (M,) bool; positives (V,): true labels each."""

    videos: NDArray[np.int64]
    hits: NDArray[np.bool_]
    positives: NDArray[np.int64]


def rank_pairs(predictions: Predictions, rows: Rows, k: int = TOP) -> Ranking:
    """The ``k`` best pairs of each of the videos ``rows`` (V,), ranked together as GAP does."""
    truth = take_lists(predictions.truth, rows)
    true = Truth.from_ragged(truth.offsets, truth.values, predictions.classes)
    labels = predictions.labels[rows, :k]
    order = descending_order(predictions.scores[rows, :k].ravel())
    videos = np.repeat(np.arange(len(rows)), labels.shape[1])
    return Ranking(videos[order], true.hits(labels).ravel()[order], true.per_video())


def resampled_gap(ranking: Ranking, times: NDArray[np.int64]) -> float:
    """GAP where video v counts ``times[v]`` times (V,); copies of a pair stand next to each other in the ranking."""
    positives = int((times * ranking.positives).sum())
    weight = times[ranking.videos]
    places = np.flatnonzero(ranking.hits & (weight > 0))
    copies = weight[places]
    above = np.cumsum(weight)[places] - copies  # pairs ranked before
    found = np.cumsum(copies) - copies  # hits among them
    total = 0.0
    for copy in range(1, int(copies.max(initial=0)) + 1):
        there = copies >= copy
        total += float(((found[there] + copy) / (above[there] + copy)).sum())
    return total / positives if positives else 0.0


def resampled_gaps(ranking: Ranking, resamples: int, seed: int) -> NDArray[np.float64]:
    """GAP on as many videos, drawn anew with replacement: (resamples,). Equal seeds draw the same videos."""
    generator = np.random.default_rng(seed)
    videos = len(ranking.positives)
    draws = (np.bincount(generator.integers(0, videos, videos), minlength=videos) for _ in range(resamples))
    return np.array([resampled_gap(ranking, times) for times in draws])


def resampled_gains(better: Ranking, worse: Ranking, resamples: int, seed: int) -> NDArray[np.float64]:
    """GAP of ``better`` minus GAP of ``worse`` on the same drawn videos: (resamples,)."""
    return resampled_gaps(better, resamples, seed) - resampled_gaps(worse, resamples, seed)
