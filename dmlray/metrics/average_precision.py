"""Mean average precision (mAP): average precision per class, averaged over classes."""

import numpy as np
from numpy.typing import NDArray

from dmlray.metrics.gap import TOP, Bools, Floats, descending_order
from dmlray.metrics.top import top_k
from dmlray.metrics.truth import Ints, Truth


def mean_average_precision(scores: Floats, labels: Bools, k: int = TOP) -> float:
    """mAP of scores (N, C) against labels (N, C), as the official evaluation counts it (google/youtube-8m).

    A class ranks only the videos that have it among their k best, recall counts all its videos, and the mean goes
    over the classes with at least one video. 0.0 where no label is true. Ties as in `metrics.gap`.
    """
    labels_top, scores_top = top_k(scores, k)
    truth = Truth.from_dense(labels)
    return mean_average_precision_of_pairs(labels_top, scores_top, truth.hits(labels_top), truth.per_class())


def mean_average_precision_of_pairs(labels: Ints, scores: Floats, hits: Bools, positives: Ints) -> float:
    """mAP from pooled pairs: labels, scores and hits of any one shape; positives (C,) counts each class's videos."""
    precisions = average_precisions(labels.ravel(), scores.ravel(), hits.ravel(), positives)
    return float(precisions[positives > 0].mean()) if positives.any() else 0.0


def average_precisions(labels: Ints, scores: Floats, hits: Bools, positives: Ints) -> NDArray[np.float64]:
    """Average precision of each class (C,) from pairs (P,); 0.0 for a class without videos."""
    order = descending_order(scores)
    narrow = np.uint16 if positives.size <= 2**16 else np.int64  # NumPy sorts 16-bit integers by radix
    order = order[np.argsort(labels[order].astype(narrow), kind="stable")]  # by class, best first within it
    labels, hits = labels[order], hits[order]
    starts = np.searchsorted(labels, np.arange(positives.size))  # where each class begins
    hits_before = np.append(0, hits.cumsum())
    found = np.flatnonzero(hits)
    classes = labels[found]
    precisions = (hits_before[found + 1] - hits_before[starts[classes]]) / (found + 1 - starts[classes])
    sums = np.bincount(classes, weights=precisions, minlength=positives.size)
    return sums / np.maximum(positives, 1)
