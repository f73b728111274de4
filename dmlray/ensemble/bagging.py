"""Bagged selection (Caruana et al., 2004, section 2.3): less prone to members that were lucky on these videos.

Each bag selects greedily from half of the candidates, drawn at random; the bags' picks are pooled.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from dmlray.ensemble.pairs import PairBlock
from dmlray.ensemble.selection import Budget, Selection, blend_gap, select
from dmlray.seeding import derive_seed

SHARE = 0.5  # of the candidates in a bag


def select_bagged(
    blocks: Sequence[PairBlock],
    *,
    bags: int,
    seed: int,
    top: int,
    size: int = 25,
    k: int = 20,
    budgets: Sequence[Budget] = (),
) -> Selection:
    """Pool the kept picks of ``bags`` selections, and keep the ``top`` members with most of them (ties: the first).

    Where budgets bind, members with most picks come first as long as they fit. A bag in which no candidate fits
    counts nothing. Raises ValueError when no candidate at all fits the budgets.
    """
    votes: Counter[int] = Counter()
    count = len(blocks[0].scores)
    for number in range(bags):
        drawn = np.random.default_rng(derive_seed(seed, "bag", number)).permutation(count)
        bag = np.sort(drawn[: max(1, round(count * SHARE))])
        members = np.array([member for member in bag if _fits([int(member)], budgets)], dtype=np.int64)
        if members.size:
            votes.update(select(blocks, top=top, size=size, k=k, members=members, budgets=budgets).counts)
    kept: list[int] = []
    for member, _ in sorted(votes.items(), key=lambda vote: (-vote[1], vote[0])):
        if len(kept) < top and _fits([*kept, member], budgets):
            kept.append(member)
    if not kept:
        return select(blocks, top=top, size=size, k=k, budgets=budgets)
    picks = tuple(member for member in kept for _ in range(votes[member]))
    return Selection(picks, _curve(blocks, picks, k), len(picks))


def _fits(members: list[int], budgets: Sequence[Budget]) -> bool:
    return all(budget.costs[members].sum() <= budget.limit for budget in budgets)


def _curve(blocks: Sequence[PairBlock], picks: Sequence[int], k: int) -> tuple[float, ...]:
    """GAP of the mean after each pick."""
    return tuple(blend_gap(blocks, Counter(picks[:step]), k) for step in range(1, len(picks) + 1))
