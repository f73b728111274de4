"""How good predictions are, whoever made them: the challenges' four measures, each with a bootstrap interval."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dmlray.config import Config
from dmlray.data.predictions import Predictions
from dmlray.errors import DataError
from dmlray.metrics.accuracy import equal_recall_precisions
from dmlray.metrics.gap import TOP, descending_order
from dmlray.metrics.truth import Truth
from dmlray.registry.labelled import read_labels, read_predictions
from dmlray.seeding import derive_seed

RESAMPLES = 200


class Figure(Config):
    """A measure, and its 95 % interval when videos are drawn again."""

    value: float
    low: float
    high: float


class EvaluationReport(Config):
    """``figures`` are gap, map, hit1 and perr of ``videos`` videos with ``labels`` true labels in all."""

    videos: int
    labels: int
    figures: dict[str, Figure]


def evaluate_predictions(path: Path, labels: Sequence[str] = (), schema: str | None = None) -> EvaluationReport:
    """Measure the predictions in a CSV file, an Arrow file or a folder against ``labels`` (sources as for predicting).

    Videos are matched by id, those that share one in their order. Raises UsageError for a CSV file without labels,
    DataError where videos differ, and as the readers do.
    """
    predictions = read_predictions(path, read_labels(labels, schema) if labels else None)
    if not len(predictions.truth.values):
        raise DataError(labels[0] if labels else path, "none of its videos has a label to measure against")
    return measure(predictions)


def measure(predictions: Predictions, resamples: int = RESAMPLES, seed: int = 0) -> EvaluationReport:
    """The four measures. PERR counts at most as many labels of a video as the predictions hold."""
    ranked = _Ranked(predictions)
    generator = np.random.default_rng(derive_seed(seed, "evaluation bootstrap"))
    videos = len(predictions)
    whole = ranked.measures(np.ones(videos, np.int64))
    drawn = [
        ranked.measures(np.bincount(generator.integers(0, videos, videos), minlength=videos)) for _ in range(resamples)
    ]
    bounds = {name: np.quantile([one[name] for one in drawn], [0.025, 0.975]) for name in whole}
    figures = {
        name: Figure(value=value, low=float(bounds[name][0]), high=float(bounds[name][1]))
        for name, value in whole.items()
    }
    return EvaluationReport(videos=videos, labels=len(predictions.truth.values), figures=figures)


class _Ranked:
    """Predictions sorted once, so that measuring any resample takes no sorting."""

    def __init__(self, predictions: Predictions) -> None:
        self._truth = Truth.from_ragged(*predictions.truth, predictions.classes)
        self._classes = predictions.classes
        counts = self._truth.per_video()
        hits = self._truth.hits(predictions.labels)
        self._perr = equal_recall_precisions(predictions.scores, hits, counts)
        self._hit1 = hits[:, 0].astype(np.float64)
        self._positives = counts
        labels, hits = predictions.labels[:, :TOP].ravel(), hits[:, :TOP].ravel()
        videos = np.repeat(np.arange(len(predictions)), min(TOP, predictions.labels.shape[1]))
        order = descending_order(predictions.scores[:, :TOP].ravel())
        self._pooled = (videos[order], hits[order], np.zeros(len(order), np.int64))
        by_class = order[np.argsort(labels[order], kind="stable")]
        self._by_class = (videos[by_class], hits[by_class], labels[by_class].astype(np.int64))
        self._true_videos, self._true_classes = np.divmod(self._truth.keys, self._classes)

    def measures(self, times: NDArray[np.int64]) -> dict[str, float]:
        """Of the videos, video v counting ``times[v]`` times."""
        counted = times[self._true_videos].astype(np.float64)
        per_class = np.bincount(self._true_classes, counted, self._classes).astype(np.float64)
        positives = np.array([float((times * self._positives).sum())])
        gap = _average_precisions(self._pooled, times, positives)
        precisions = _average_precisions(self._by_class, times, per_class)
        total = times.sum()
        return {
            "gap": float(gap[0]),
            "map": float(precisions[per_class > 0].mean()) if per_class.any() else 0.0,
            "hit1": float((times * self._hit1).sum() / total),
            "perr": float((times * self._perr).sum() / total),
        }


def _average_precisions(
    pairs: tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]],
    times: NDArray[np.int64],
    positives: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Average precision of each group (G,) of ``pairs`` (videos, hits, groups, each (P,)), which stand group by group,
    best first; copies of a pair stand next to each other, as in `ensemble.bootstrap.resampled_gap`."""
    videos, hits, groups = pairs
    weight = times[videos]
    above, found = np.cumsum(weight) - weight, np.cumsum(weight * hits) - weight * hits  # before, over all groups
    firsts = np.minimum(np.searchsorted(groups, np.arange(len(positives))), max(0, len(groups) - 1))
    places = np.flatnonzero(hits & (weight > 0))
    copies, group = weight[places], groups[places]
    ranks, ones = above[places] - above[firsts[group]], found[places] - found[firsts[group]]
    total = np.zeros(len(positives))
    for copy in range(1, int(copies.max(initial=0)) + 1):
        there = copies >= copy
        total += np.bincount(group[there], (ones[there] + copy) / (ranks[there] + copy), len(positives))
    return total / np.maximum(positives, 1)
