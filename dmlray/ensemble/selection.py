"""Greedy forward selection with replacement (Caruana et al., 2004, "Ensemble selection from libraries of models").

The objective is GAP@20 of the mean of the picked members' scores. A class that a member's store does not hold counts
as score 0 there. Ties (within 1e-12) go to members already in, then to the first member.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dmlray.ensemble.pairs import PairBlock, scatter

TIE = 1e-12
NOTHING = np.uint64(2**64 - 2)  # ranks last, and is no hit


@dataclass(frozen=True)
class Budget:
    """What the distinct members of an ensemble may cost together: costs (E,) float64, in the unit of ``limit``."""

    costs: NDArray[np.float64]
    limit: float


@dataclass(frozen=True)
class Selection:
    """All ``picks`` tried in order with the GAP after each (``curve``); the first ``kept`` of them are the ensemble."""

    picks: tuple[int, ...]
    curve: tuple[float, ...]
    kept: int

    @property
    def counts(self) -> dict[int, int]:
        """How often each member of the ensemble was picked, in the order of first picks."""
        return dict(Counter(self.picks[: self.kept]))

    @property
    def gains(self) -> dict[int, float]:
        """What the picks of each member added to GAP; the gains add up to the GAP of the ensemble."""
        gains = dict.fromkeys(self.counts, 0.0)
        before = 0.0
        for member, gap in zip(self.picks[: self.kept], self.curve, strict=False):
            gains[member] += gap - before
            before = gap
        return gains


def select(
    blocks: Sequence[PairBlock],
    *,
    top: int,
    size: int = 25,
    k: int = 20,
    members: NDArray[np.int64] | None = None,
    budgets: Sequence[Budget] = (),
) -> Selection:
    """Pick ``size`` times the member that helps most, at most ``top`` distinct ones, and cut at the best prefix.

    The first pick is the best single member; of equally good prefixes the shortest is kept. Only ``members`` (default:
    all) are looked at, and of those the ones with which the ensemble stays within every budget. Raises ValueError when
    no member does.
    """
    assert top >= 1
    assert size >= 1
    members = np.arange(len(blocks[0].scores)) if members is None else members
    sums = [np.zeros(block.scores.shape[1], dtype=np.float32) for block in blocks]
    picks: list[int] = []
    curve: list[float] = []
    for _ in range(size):
        allowed = _allowed(members, picks, top, budgets)
        gaps = addition_gaps(blocks, sums, allowed, k)
        best = _choose(allowed, gaps, picks)
        picks.append(int(allowed[best]))
        curve.append(float(gaps[best]))
        for block, total in zip(blocks, sums, strict=True):
            total += block.scores[picks[-1]]
    kept = 1 + int(np.argmax(np.array(curve) >= max(curve) - TIE))
    return Selection(tuple(picks), tuple(curve), kept)


def _allowed(
    members: NDArray[np.int64], picks: Sequence[int], top: int, budgets: Sequence[Budget]
) -> NDArray[np.int64]:
    """Who may be picked next: those in already, and, while there is room, those that every budget still affords."""
    inside = np.unique(np.array(picks, dtype=np.int64))
    if len(inside) == top:
        return inside
    fits = np.ones(len(members), dtype=bool)
    for budget in budgets:
        fits &= budget.costs[inside].sum() + budget.costs[members] <= budget.limit
    allowed = members[fits | np.isin(members, inside)]
    if not allowed.size:
        raise ValueError("no member fits the budgets")
    return allowed


def addition_gaps(
    blocks: Sequence[PairBlock], sums: Sequence[NDArray[np.float32]], members: NDArray[np.int64], k: int = 20
) -> NDArray[np.float64]:
    """GAP@k of ``sums`` (one (P,) per block) with each of ``members`` added, float64 in their order.

    A mean of scores ranks as their sum does, so nothing is divided.
    """
    firsts = np.cumsum([0, *(len(block.classes) for block in blocks[:-1])])
    ends = np.cumsum([len(block.starts) - 1 for block in blocks]) * k
    keys = np.empty((len(members), ends[-1]), dtype=np.uint64)

    def fill(block: PairBlock, base: NDArray[np.float32], first: int, end: int) -> None:
        keys[:, end - (len(block.starts) - 1) * k : end] = _top_keys(block, base, first, members, k)

    with ThreadPoolExecutor() as pool:  # NumPy sorts outside the interpreter's lock
        list(pool.map(fill, blocks, sums, firsts.tolist(), ends.tolist()))
        list(pool.map(np.ndarray.sort, keys))
    positives = sum(block.positives for block in blocks)
    return np.array([_ranked_gap(ranking, positives) for ranking in keys])


def blend_gap(blocks: Sequence[PairBlock], weights: Mapping[int, float], k: int = 20) -> float:
    """GAP@k of the members' scores added with ``weights`` (member -> weight >= 0), which need not sum to 1."""
    members = list(weights)
    shares = np.array(list(weights.values()), dtype=np.float32)
    blended = [replace(block, scores=(shares @ block.scores[members])[None]) for block in blocks]
    nothing = [np.zeros(len(block.classes), dtype=np.float32) for block in blocks]
    return float(addition_gaps(blended, nothing, np.array([0]), k)[0])


def _choose(allowed: NDArray[np.int64], gaps: NDArray[np.float64], picks: Sequence[int]) -> int:
    tied = np.flatnonzero(gaps >= gaps.max() - TIE)
    return min((int(place) for place in tied), key=lambda place: (allowed[place] not in picks, place))


def _top_keys(
    block: PairBlock, base: NDArray[np.float32], first: int, members: NDArray[np.int64], k: int
) -> NDArray[np.uint64]:
    """The k best sort keys of each video with each member added: (E, V * k).

    A key holds score, place among all pairs and hit flag, and its ascending order is the ranking of `metrics.gap`:
    score descending, then video, then class. A float >= 0 orders as its bits do.
    """
    near = _within_reach(block, base, members, k)
    totals = block.scores[np.ix_(members, near)] + base[near]
    keys = (~totals.view(np.uint32)).astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= ((first + near).astype(np.uint64) << np.uint64(1)) | block.hits[near]
    rows = scatter(keys, block.video_of_pair[near], len(block.starts) - 1, k, NOTHING)
    rows.partition(k - 1, axis=-1)
    return rows[..., :k].reshape(len(members), -1)


def _within_reach(block: PairBlock, base: NDArray[np.float32], members: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Pairs that can be among the k best of their video, whichever member is added.

    Exact: a pair left out stays below the k-th best lower bound for every member, since rounding is monotone.
    """
    scores = block.scores if len(members) == len(block.scores) else block.scores[members]
    videos = block.video_of_pair
    sure = scatter(base + scores.min(axis=0), videos, len(block.starts) - 1, k, np.float32(0))
    sure.partition(sure.shape[-1] - k, axis=-1)
    return np.flatnonzero(base + scores.max(axis=0) >= sure[:, -k][videos])


def _ranked_gap(ranking: NDArray[np.uint64], positives: int) -> float:
    """Average precision of sorted keys over ``positives`` true labels, as `metrics.gap` computes it."""
    ranks = 1 + np.flatnonzero(ranking & np.uint64(1))
    return float((np.arange(1, ranks.size + 1) / ranks).sum() / positives) if positives else 0.0
