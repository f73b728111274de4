"""Weights that maximise GAP on the selection part itself: what `gap`, `count` and `uniform` can be held against.

Such weights fit the videos that they were found on (Purucker and Beel, 2023, arXiv:2307.00286, on ranking measures), so
the report part must show whether they pay.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from dmlray.ensemble.pairs import PairBlock
from dmlray.ensemble.selection import blend_gap

EVALUATIONS = 60  # of GAP, per member


def optimised_weights(blocks: Sequence[PairBlock], counts: Mapping[int, int], k: int = 20) -> list[float]:
    """Weights in [0, 1] that sum to 1 for the members of ``counts`` (member -> picks), found by Nelder and Mead's
    simplex from the picks' own shares; those shares themselves where nothing better is found.
    """
    members = list(counts)
    start = np.array(list(counts.values()), dtype=np.float64) / sum(counts.values())
    if len(members) == 1:
        return [1.0]

    def loss(shares: NDArray[np.float64]) -> float:
        return -blend_gap(blocks, dict(zip(members, shares.tolist(), strict=True)), k) if shares.any() else 0.0

    simplex = np.vstack([start, start + np.eye(len(start)) * 0.5 * start.mean()])
    limits = {"maxfev": EVALUATIONS * len(members), "xatol": 1e-3, "fatol": 1e-6, "initial_simplex": simplex}
    found = minimize(loss, start, method="Nelder-Mead", bounds=[(0.0, 1.0)] * len(members), options=limits)
    best = found.x if found.fun < loss(start) else start
    return [float(share) for share in best / best.sum()]
