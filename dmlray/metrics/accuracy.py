"""Measures that look at one video at a time: Hit@1 and PERR, as google/youtube-8m ``eval_util`` defines them."""

import numpy as np
from numpy.typing import NDArray

from dmlray.metrics.gap import Bools, Floats
from dmlray.metrics.top import top_k
from dmlray.metrics.truth import Ints, Truth


def hit_at_one(scores: Floats, labels: Bools) -> float:
    """Share of videos whose best class is true; scores and labels (N, C). Ties go to the lowest class index."""
    return float(np.take_along_axis(labels, scores.argmax(axis=1)[:, None], axis=1).mean())


def precision_at_equal_recall_rate(scores: Floats, labels: Bools) -> float:
    """PERR: precision of each video's n best classes, n being the number of its labels, averaged over videos.

    scores and labels (N, C). A video without labels counts as 0, and so does a class whose score is not above 0:
    scores are meant to be probabilities.
    """
    truth = Truth.from_dense(labels)
    counts = truth.per_video()
    labels_top, scores_top = top_k(scores, max(1, int(counts.max())))
    return float(equal_recall_precisions(scores_top, truth.hits(labels_top), counts).mean())


def equal_recall_precisions(scores_top: Floats, hits: Bools, counts: Ints) -> NDArray[np.float64]:
    """Each video's term of PERR (N,) from its best pairs (N, K), best first, K at least the largest of counts (N,)."""
    counted = (np.arange(hits.shape[1]) < counts[:, None]) & (scores_top > 0)
    precisions: NDArray[np.float64] = (hits & counted).sum(axis=1) / np.maximum(counts, 1)
    return precisions
