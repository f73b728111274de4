"""The ensemble beside the obvious alternatives, every one of them chosen on the selection part alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dmlray.data.predictions import Predictions
from dmlray.ensemble.bootstrap import rank_pairs, resampled_gains, resampled_gaps
from dmlray.ensemble.candidates import Candidate
from dmlray.ensemble.choice import Choice, EnsembleSettings
from dmlray.ensemble.combine import combine
from dmlray.ensemble.dense import DenseBlender
from dmlray.ensemble.parts import Rows, gap_on
from dmlray.ensemble.precision import Precision
from dmlray.ensemble.report import Figures, Gain
from dmlray.ensemble.weights import member_weights
from dmlray.seeding import derive_seed


@dataclass(frozen=True)
class Blend:
    """Members (places among the candidates), their weights, and what they predict together; ``test`` None where one has
    no test.
    """

    members: tuple[int, ...]
    weights: tuple[float, ...]
    validation: Predictions
    test: Predictions | None


def others_to_compare(
    chosen: Choice, candidates: Sequence[Candidate], gaps: Sequence[float], top: int
) -> dict[str, Blend]:
    """What an ensemble must beat: the `best_single` candidate by its GAP (E,) on the selection part; the `paper`'s rule
    (the ``top`` best by own GAP, GAP-proportional, scores as they are: Zhao, 2018); and on the ensemble's scale the
    `top` best alike, the ensemble's own members `uniform`, and `all` candidates alike.
    """
    by_gap = sorted(range(len(candidates)), key=lambda place: (-gaps[place], place))
    best = by_gap[:top]
    return {
        "best_single": blend(candidates, {by_gap[0]: 1.0}),
        "paper": blend(
            candidates, dict(zip(best, member_weights("gap", [1] * len(best), [gaps[i] for i in best]), strict=True))
        ),
        "top": blend(chosen.scaled.candidates, dict.fromkeys(best, 1 / len(best))),
        "uniform": blend(chosen.scaled.candidates, dict.fromkeys(chosen.weights, 1 / len(chosen.weights))),
        "all": blend(chosen.scaled.candidates, dict.fromkeys(range(len(candidates)), 1 / len(candidates))),
    }


def densely(
    blender: DenseBlender,
    blend: Blend,
    members: Sequence[Candidate],
    temperatures: Sequence[float],
    precision: Precision = "float32",
) -> Blend:
    """The same blend from the full outputs of its ``members``, stored in ``precision``."""
    predictions = blender.blend(members, blend.weights, temperatures, precision)
    return replace(blend, validation=predictions["validation"], test=predictions.get("test"))


def measure(blend: Blend, parts: tuple[Rows, Rows], settings: EnsembleSettings) -> Figures:
    """GAP of a blend on the videos of the selection, on those kept from it, and on test, with 95 % intervals."""
    chosen, reported = parts
    test, test_interval = gap_on_test(blend.test, settings)
    return Figures(
        members=len(blend.members),
        selection=gap_on(blend.validation, chosen),
        report=gap_on(blend.validation, reported) if reported.size else None,
        report_interval=_interval(blend.validation, reported, settings) if reported.size else None,
        test=test,
        test_interval=test_interval,
    )


def gap_on_test(
    test: Predictions | None, settings: EnsembleSettings
) -> tuple[float | None, tuple[float, float] | None]:
    """GAP of all videos and its 95 % interval; None for no predictions."""
    if test is None:
        return None, None
    rows = np.arange(len(test))
    return gap_on(test, rows), _interval(test, rows, settings)


def measure_gain(better: Blend, worse: Blend, rows: Rows, resamples: int, seed: int) -> Gain | None:
    """How far ``better`` is ahead on validation videos ``rows``, with a paired bootstrap interval; None without any."""
    if not rows.size:
        return None
    rankings = (rank_pairs(better.validation, rows), rank_pairs(worse.validation, rows))
    gains = resampled_gains(*rankings, resamples, derive_seed(seed, "ensemble bootstrap"))
    low, high = (float(bound) for bound in np.quantile(gains, [0.025, 0.975]))
    return Gain(
        value=gap_on(better.validation, rows) - gap_on(worse.validation, rows),
        low=low,
        high=high,
        resamples=resamples,
        within_noise=low <= 0 <= high,
    )


def blend(candidates: Sequence[Candidate], shares: Mapping[int, float]) -> Blend:
    """What ``candidates`` predict with ``shares`` (place among them -> weight) that sum to 1."""
    members = [candidates[place] for place in shares]
    weights = list(shares.values())
    tests = [member.test for member in members if member.test is not None]
    return Blend(
        tuple(shares),
        tuple(weights),
        combine([member.validation for member in members], weights),
        combine(tests, weights) if len(tests) == len(members) else None,
    )


def _interval(predictions: Predictions, rows: Rows, settings: EnsembleSettings) -> tuple[float, float]:
    ranking = rank_pairs(predictions, rows)
    gaps = resampled_gaps(ranking, settings.resamples, derive_seed(settings.seed, "ensemble bootstrap"))
    low, high = (float(bound) for bound in np.quantile(gaps, [0.025, 0.975]))
    return low, high
