"""The ensemble beside the obvious alternatives, every one of them chosen on the selection part alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dmlray.data.predictions import Predictions
from dmlray.ensemble.bootstrap import rank_pairs, resampled_gains
from dmlray.ensemble.candidates import Candidate
from dmlray.ensemble.combine import combine
from dmlray.ensemble.parts import Rows, gap_on
from dmlray.ensemble.report import Figures, Gain
from dmlray.ensemble.weights import member_weights
from dmlray.seeding import derive_seed


@dataclass(frozen=True)
class Blend:
    """Members (places among the candidates) and what they predict together; ``test`` None where one has no test."""

    members: tuple[int, ...]
    validation: Predictions
    test: Predictions | None


def blends_to_compare(
    candidates: Sequence[Candidate], gaps: Sequence[float], weights: Mapping[int, float], top: int
) -> dict[str, Blend]:
    """The `ensemble` with its ``weights``, the `best_single` candidate by its GAP (E,) on the selection part, the
    `paper`'s rule (the ``top`` best by own GAP, GAP-proportional: Zhao, 2018) and all candidates `uniform`.
    """
    by_gap = sorted(range(len(candidates)), key=lambda place: (-gaps[place], place))
    best = by_gap[:top]
    rules = {
        "ensemble": weights,
        "best_single": {by_gap[0]: 1.0},
        "paper": dict(zip(best, member_weights("gap", [1] * len(best), [gaps[i] for i in best]), strict=True)),
        "uniform": dict.fromkeys(range(len(candidates)), 1 / len(candidates)),
    }
    return {name: _blend(candidates, shares) for name, shares in rules.items()}


def measure(blend: Blend, parts: tuple[Rows, Rows]) -> Figures:
    """GAP of a blend on the videos of the selection, on those kept from it, and on test."""
    chosen, reported = parts
    return Figures(
        members=len(blend.members),
        selection=gap_on(blend.validation, chosen),
        report=gap_on(blend.validation, reported) if reported.size else None,
        test=gap_on(blend.test, np.arange(len(blend.test))) if blend.test is not None else None,
    )


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


def _blend(candidates: Sequence[Candidate], shares: Mapping[int, float]) -> Blend:
    members = [candidates[place] for place in shares]
    weights = list(shares.values())
    tests = [member.test for member in members if member.test is not None]
    return Blend(
        tuple(shares),
        combine([member.validation for member in members], weights),
        combine(tests, weights) if len(tests) == len(members) else None,
    )
