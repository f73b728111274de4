"""GAP@20 as google/youtube-8m computes it (eval_util.calculate_gap and average_precision_calculator, Apache 2.0).

The peer of the benchmarks: the same calls in the same order, ported to today's Python and NumPy.
"""

import heapq
import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

Lists = list[list[Any]]


def official_gap(predictions: NDArray[np.float32], actuals: NDArray[np.bool_], top_k: int = 20) -> float:
    """GAP of predictions (N, C) against actuals (N, C)."""
    scores, labels, positives = _top_k_by_class(predictions, actuals, top_k)
    heap: list[tuple[Any, Any]] = []
    for pair in zip(_flatten(scores), _flatten(labels), strict=True):
        heapq.heappush(heap, pair)
    return _ap_at_n(*(np.array(column) for column in zip(*heap, strict=True)), float(sum(positives)))


def _top_k_by_class(
    predictions: NDArray[np.float32], labels: NDArray[np.bool_], k: int
) -> tuple[Lists, Lists, list[Any]]:
    triplets = []
    for video in range(len(predictions)):
        triplets.extend(_top_k_triplets(predictions[video], labels[video], k))
    classes = predictions.shape[1]
    out_scores: Lists = [[] for _ in range(classes)]
    out_labels: Lists = [[] for _ in range(classes)]
    for index, score, label in triplets:
        out_scores[index].append(score)
        out_labels[index].append(label)
    return out_scores, out_labels, [np.sum(labels[:, i]) for i in range(classes)]


def _top_k_triplets(predictions: NDArray[np.float32], labels: NDArray[np.bool_], k: int) -> list[tuple[Any, Any, Any]]:
    k = min(k, len(predictions))
    indices = np.argpartition(predictions, -k)[-k:]
    return [(index, predictions[index], labels[index]) for index in indices]


def _flatten(lists: Lists) -> list[Any]:
    return [item for each in lists for item in each]


def _ap_at_n(predictions: NDArray[np.float32], actuals: NDArray[np.bool_], positives: float) -> float:
    order = random.Random(0).sample(range(len(predictions)), len(predictions))
    predictions, actuals = predictions[order], actuals[order]
    ranked = sorted(range(len(predictions)), key=lambda place: predictions[place], reverse=True)
    found, ap = 0.0, 0.0
    for rank, place in enumerate(ranked, start=1):
        if actuals[place] > 0:
            found += 1
            ap += found / rank / positives
    return ap
