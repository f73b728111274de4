"""GAP@20 as google/youtube-8m computes it (eval_util.calculate_gap and average_precision_calculator, Apache 2.0).

The peer of the benchmarks: the same calls in the same order, ported to today's Python and NumPy.
"""

import heapq
import random

import numpy as np
from numpy.typing import NDArray


def official_gap(predictions: NDArray[np.float32], actuals: NDArray[np.bool_], top_k: int = 20) -> float:
    """GAP of predictions (N, C) against actuals (N, C)."""
    flat_predictions: list[float] = []
    flat_labels: list[float] = []
    positives = 0.0
    for video in range(len(predictions)):
        best = _top_k_triplets(predictions[video], actuals[video], top_k)
        flat_predictions.extend(prediction for prediction, _ in best)
        flat_labels.extend(label for _, label in best)
        positives += float(np.sum(actuals[video]))
    return _ap_at_n(flat_predictions, flat_labels, positives)


def _top_k_triplets(predictions: NDArray[np.float32], labels: NDArray[np.bool_], k: int) -> list[tuple[float, float]]:
    k = min(k, len(predictions))
    indices = np.argpartition(predictions, -k)[-k:]
    return [(float(predictions[index]), float(labels[index])) for index in indices]


def _ap_at_n(predictions: list[float], actuals: list[float], positives: float) -> float:
    heap: list[tuple[float, float]] = []
    for prediction, actual in zip(predictions, actuals, strict=True):
        heapq.heappush(heap, (prediction, actual))
    order = list(range(len(heap)))
    random.Random(0).shuffle(order)
    ranked = sorted(order, key=lambda place: heap[place][0], reverse=True)
    found, ap = 0.0, 0.0
    for rank, place in enumerate(ranked, start=1):
        if heap[place][1] > 0:
            found += 1
            ap += found / rank / positives
    return ap
