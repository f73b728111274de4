"""What an ensemble's stored predictions say beyond its report: GAP pick by pick with intervals, and AP by class.

Everything is measured on the report part, which the selection never saw, and on few enough of its videos that a page
about a million of them is made in seconds.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dmlray.data.predictions import Predictions, load_predictions
from dmlray.ensemble.bootstrap import rank_pairs, resampled_gaps
from dmlray.ensemble.candidates import VALIDATION_FILE
from dmlray.ensemble.combine import combine
from dmlray.ensemble.origin import is_own, origin, snapshot_file, snapshot_of
from dmlray.ensemble.parts import Rows, gap_on, split_videos, take_lists
from dmlray.ensemble.report import EnsembleReport
from dmlray.ensemble.scale import scaled
from dmlray.metrics.average_precision import average_precisions
from dmlray.metrics.gap import TOP
from dmlray.metrics.truth import Truth
from dmlray.registry.contents import VOCABULARY
from dmlray.registry.export import PACKAGE
from dmlray.registry.vocabulary import read_vocabulary
from dmlray.sweep.settings import SweepFolder

GROWTH_VIDEOS, CLASS_VIDEOS = 10_000, 200_000  # the most that are looked at
RESAMPLES = 100


@dataclass(frozen=True)
class Step:
    """GAP of the mean of the first picks on videos that the selection never saw, with its 95 % bootstrap interval."""

    gap: float
    low: float
    high: float


@dataclass(frozen=True)
class ClassGain:
    """AP of one class by the best single trial and by the ensemble, on ``videos`` that have it."""

    label: int
    name: str
    videos: int
    single: float
    ensemble: float

    @property
    def gain(self) -> float:
        """How much better the ensemble ranks this class."""
        return self.ensemble - self.single


@dataclass(frozen=True)
class Measures:
    """``growth`` by kept pick, on ``growth_videos``; ``classes`` with a true video, by label, on ``class_videos``."""

    growth: tuple[Step, ...]
    growth_videos: int
    classes: tuple[ClassGain, ...]
    class_videos: int


def measure_ensemble(
    folder: SweepFolder, name: str, report: EnsembleReport, vocabulary: Path | None = None
) -> Measures | None:
    """Read the stores of an ensemble; None where a member or the best single trial is none of the sweep's.

    Classes are named by the ``vocabulary``, a CSV file, else by that of the ensemble's package. Raises StorageError for
    a store that is missing or damaged, and for the vocabulary as `registry.vocabulary.read_vocabulary` does.
    """
    kept = [pick.trial for pick in report.curve if pick.kept]
    temperatures = {member.trial: member.temperature for member in report.members}
    if not all(map(is_own, (report.best_single, *kept))) or not set(kept) <= set(temperatures):
        return None
    ensemble = load_predictions(folder.ensemble(name) / VALIDATION_FILE)
    names = read_vocabulary(vocabulary, ensemble.classes) if vocabulary else _packaged_names(folder.ensemble(name))
    _, rows = split_videos(ensemble.ids, report.report_split)
    if not rows.size:
        return None
    few, many = evenly(rows, GROWTH_VIDEOS), evenly(rows, CLASS_VIDEOS)
    stores = {number: _store(folder, number) for number in {*kept, report.best_single}}
    chosen = {trial: scaled(take(stores[trial], few), temperatures[trial]) for trial in set(kept)}
    return Measures(
        growth=growth(chosen, kept),
        growth_videos=len(few),
        classes=class_gains(take(stores[report.best_single], many), take(ensemble, many), names),
        class_videos=len(many),
    )


def growth(stores: Mapping[int, Predictions], picks: Sequence[int]) -> tuple[Step, ...]:
    """GAP after each of ``picks`` (trials, some of them again), of all videos of their ``stores``."""
    every = np.arange(len(next(iter(stores.values()))))
    return tuple(_step(stores, Counter(picks[:count]), every) for count in range(1, len(picks) + 1))


def class_gains(single: Predictions, ensemble: Predictions, vocabulary: Sequence[str] = ()) -> tuple[ClassGain, ...]:
    """AP by class of two predictions of the same videos, as mAP counts it, for the classes that a video has."""
    truth = Truth.from_ragged(ensemble.truth.offsets, ensemble.truth.values, ensemble.classes)
    positives = truth.per_class()
    before, after = (_precisions(each, truth) for each in (single, ensemble))
    names = dict(enumerate(vocabulary))
    return tuple(
        ClassGain(label, names.get(label) or f"class {label}", int(positives[label]), before[label], after[label])
        for label in np.flatnonzero(positives).tolist()
    )


def take(predictions: Predictions, rows: Rows) -> Predictions:
    """The predictions of the videos ``rows`` (M,) alone."""
    return replace(
        predictions,
        ids=predictions.ids[rows],
        labels=predictions.labels[rows],
        scores=predictions.scores[rows],
        truth=take_lists(predictions.truth, rows),
    )


def evenly(rows: Rows, most: int) -> Rows:
    """At most ``most`` of ``rows``, spread evenly."""
    return rows[:: -(-len(rows) // most)] if len(rows) > most else rows


def _store(folder: SweepFolder, number: int) -> Predictions:
    _, trial = origin(number, folder.path.name, ())
    snapshot = snapshot_of(number)
    file = VALIDATION_FILE if snapshot is None else snapshot_file(snapshot, "validation")
    return load_predictions(folder.trial(trial) / file)


def _packaged_names(ensemble: Path) -> list[str]:
    path = ensemble / PACKAGE / VOCABULARY
    return [str(name) for name in json.loads(path.read_bytes())] if path.is_file() else []


def _step(stores: Mapping[int, Predictions], counts: Mapping[int, int], every: Rows) -> Step:
    shares = [count / sum(counts.values()) for count in counts.values()]
    blended = combine([stores[trial] for trial in counts], shares)
    gaps = resampled_gaps(rank_pairs(blended, every), RESAMPLES, seed=0)
    low, high = (float(bound) for bound in np.quantile(gaps, [0.025, 0.975]))
    return Step(gap_on(blended, every), low, high)


def _precisions(predictions: Predictions, truth: Truth) -> list[float]:
    labels, scores = predictions.labels[:, :TOP].astype(np.int64), predictions.scores[:, :TOP]
    found = average_precisions(labels.ravel(), scores.ravel(), truth.hits(labels).ravel(), truth.per_class())
    return [float(value) for value in found]
