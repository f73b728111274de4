"""What each member is worth to the ensemble, and how differently the members rank."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dmlray.data.predictions import Predictions
from dmlray.ensemble.combine import combine
from dmlray.ensemble.parts import Rows, gap_on
from dmlray.metrics.gap import TOP


def leave_one_out(stores: Sequence[Predictions], weights: Sequence[float], rows: Rows) -> list[float]:
    """For each of E members: GAP of the ensemble on videos ``rows`` minus GAP without that member, whose weight the
    others share in proportion. Negative: the ensemble is better without. A single member's is its whole GAP.
    """
    whole = gap_on(combine(stores, weights), rows)
    return [whole - _gap_without(member, stores, weights, rows) for member in range(len(stores))]


def disagreement(stores: Sequence[Predictions], rows: Rows, k: int = TOP) -> NDArray[np.float64]:
    """(E, E): the mean share of a video's ``k`` best classes that the other member does not rank among its own."""
    keys = [_keys(store, rows, k) for store in stores]
    differing = np.zeros((len(stores), len(stores)))
    for one, other in zip(*np.triu_indices(len(stores), 1), strict=True):
        shared = np.isin(keys[one], keys[other], assume_unique=True).mean() if keys[one].size else 1.0
        differing[one, other] = differing[other, one] = 1 - shared
    return differing


def _gap_without(member: int, stores: Sequence[Predictions], weights: Sequence[float], rows: Rows) -> float:
    others = [place for place in range(len(stores)) if place != member]
    total = sum(weights[place] for place in others)
    if not total:
        return 0.0
    return gap_on(combine([stores[place] for place in others], [weights[place] / total for place in others]), rows)


def _keys(store: Predictions, rows: Rows, k: int) -> NDArray[np.int64]:
    labels = store.labels[rows, :k].astype(np.int64)
    return (labels + np.arange(len(rows))[:, None] * store.classes).ravel()
