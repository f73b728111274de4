"""Greedy selection against its plain reference, and what it promises."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmlray.ensemble import pairs
from dmlray.ensemble.pairs import pair_blocks, scatter
from dmlray.ensemble.selection import Selection, addition_gaps, select
from dmlray.metrics.gap import gap_from_top
from tests.ensemble import plain
from tests.ensemble.cases import stores

SIZES = {
    "videos": st.integers(1, 8),
    "classes": st.integers(2, 8),
    "members": st.integers(1, 4),
    "keep": st.integers(1, 8),
    "grid": st.sampled_from([2, 8, 64]),
}


def run(members, rows=None, **options):
    rows = np.arange(len(members[0])) if rows is None else np.array(rows)
    return select(list(pair_blocks(members, rows)), **options)


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.fixed_dictionaries(SIZES),
    seed=st.integers(0, 999),
    top=st.integers(1, 4),
    k=st.integers(1, 4),
    data=st.data(),
)
def test_agrees_with_the_plain_reference(sizes, seed, top, k, data):
    members = stores(seed, **sizes)
    rows = data.draw(st.lists(st.integers(0, sizes["videos"] - 1), min_size=1, max_size=8, unique=True))
    fast = run(members, rows, top=top, size=6, k=k)
    picks, curve, kept = plain.greedy(members, rows, top, 6, k)
    assert fast.picks == tuple(picks)
    assert fast.curve == pytest.approx(curve, abs=1e-12)
    assert fast.kept == kept


@given(seed=st.integers(0, 99))
@settings(deadline=None, max_examples=10)
def test_blocks_of_any_size_give_the_same(seed):
    members = stores(seed, videos=20)
    whole = run(members, top=3, size=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "BLOCK_CELLS", 24)  # 3 videos
        assert run(members, top=3, size=8) == whole


def test_a_member_alone_has_the_gap_of_its_store():
    members = stores(1, videos=50, classes=40, keep=30)
    blocks = list(pair_blocks(members, np.arange(50)))
    zero = [np.zeros(len(block.classes), np.float32) for block in blocks]
    gaps = addition_gaps(blocks, zero, np.arange(len(members)))
    assert gaps.tolist() == [gap_from_top(store.labels, store.scores, *store.truth) for store in members]


def test_a_copy_of_a_member_is_never_needed():
    members = stores(2, videos=30)
    twice = [store for store in members for _ in range(2)]
    single, double = run(members, top=4, size=10), run(twice, top=4, size=10)
    assert tuple(pick // 2 for pick in double.picks) == single.picks
    assert all(pick % 2 == 0 for pick in double.picks)  # the first of two equals
    assert double.curve == single.curve


def test_no_more_than_top_members_and_the_best_prefix():
    members = stores(3, videos=60, members=6)
    for top in (1, 2, 3):
        selection = run(members, top=top, size=15)
        assert len(set(selection.picks)) <= top
        assert selection.curve[selection.kept - 1] == pytest.approx(max(selection.curve), abs=1e-12)
        assert max(selection.curve[: selection.kept - 1], default=-1) < max(selection.curve) - 1e-12
    assert run(members, top=1, size=15).kept == 1


def test_repeated_picks_count_and_gains_add_up():
    selection = Selection(picks=(2, 0, 2, 1), curve=(0.5, 0.6, 0.7, 0.65), kept=3)
    assert selection.counts == {2: 2, 0: 1}
    assert selection.gains == pytest.approx({2: 0.6, 0: 0.1})


def test_videos_without_true_labels_give_zero():
    members = [
        replace(store, truth=store.truth._replace(offsets=np.zeros(13, np.int64), values=np.empty(0, np.int64)))
        for store in stores(4)
    ]
    assert run(members, top=2, size=3) == Selection((0, 0, 0), (0.0, 0.0, 0.0), 1)


def test_scatter_makes_rows_even():
    values = np.array([[1, 2, 3], [4, 5, 6]])
    even = scatter(values, np.array([0, 2, 2]), count=3, least=1, fill=0)
    assert even.tolist() == [[[1, 0], [0, 0], [2, 3]], [[4, 0], [0, 0], [5, 6]]]
