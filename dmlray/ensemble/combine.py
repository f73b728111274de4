"""The weighted mean of members' scores, as predictions of their own."""

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dmlray.data.predictions import Predictions
from dmlray.ensemble.pairs import PairBlock, pair_blocks, scatter

KEEP = 50  # labels per video
_LAST = np.uint64(2**64 - 1)
_LOW = np.uint64(2**32 - 1)


def combine(stores: Sequence[Predictions], weights: Sequence[float], keep: int = KEEP) -> Predictions:
    """Average stores (E) of the same videos with weights (E,) that sum to 1; the ``keep`` best classes of each video.

    A class that a store lacks counts as score 0 there. Equal scores go to the lowest class. ``meta`` keeps what all
    members share, and adds the weights.
    """
    keep = min(keep, max(store.labels.shape[1] for store in stores))
    best = [_best(block, weights, keep) for block in pair_blocks(stores, np.arange(len(stores[0])))]
    keys = np.concatenate([np.empty((0, keep), np.uint64), *best])
    scores = (~(keys >> np.uint64(32)).astype(np.uint32)).view(np.float32)
    labels = (keys & _LOW).astype(np.int32)
    return Predictions(stores[0].ids, labels, scores, stores[0].truth, stores[0].classes, _meta(stores, weights))


def _best(block: PairBlock, weights: Sequence[float], keep: int) -> NDArray[np.uint64]:
    """Keys (V, keep) that hold score and class, in the order of the ranking."""
    total = np.zeros(len(block.classes))
    for weight, scores in zip(weights, block.scores, strict=True):
        total += np.float64(weight) * scores
    bits = np.minimum(total, 1.0).astype(np.float32).view(np.uint32)  # a float >= 0 orders as its bits do
    keys = (~bits).astype(np.uint64) << np.uint64(32) | block.classes.astype(np.uint64)
    rows = scatter(keys, block.video_of_pair, len(block.starts) - 1, keep, _LAST)
    rows.sort(axis=-1)
    return rows[:, :keep]


def _meta(stores: Sequence[Predictions], weights: Sequence[float]) -> dict[str, str]:
    shared = set.intersection(*(set(store.meta.items()) for store in stores))
    return {**dict(sorted(shared)), "weights": json.dumps([round(weight, 9) for weight in weights])}
