"""Combined predictions, parts of the videos, and the bootstrap."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmlray.ensemble.bootstrap import rank_pairs, resampled_gains, resampled_gap
from dmlray.ensemble.combine import combine
from dmlray.ensemble.parts import gap_on, split_videos, take_lists
from tests.ensemble import plain
from tests.ensemble.cases import stores


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999), keep=st.integers(1, 8), members=st.integers(1, 4))
def test_combination_is_the_weighted_mean(seed, keep, members):
    parts = stores(seed, keep=keep, members=members)
    weights = [(member + 1) / sum(range(1, members + 1)) for member in range(members)]
    whole = combine(parts, weights, keep=4)
    for video in range(len(whole)):
        means = {
            label: np.float32(sum(w * plain.score_of(s, video, label) for w, s in zip(weights, parts, strict=True)))
            for label in plain.kept_classes(parts, video)
        }
        expected = sorted(means, key=lambda label: (-means[label], label))[: min(4, keep)]
        assert whole.labels[video].tolist() == expected
        assert whole.scores[video].tolist() == [float(means[label]) for label in expected]


def test_one_member_stays_as_it_is():
    store = stores(1)[0]
    alone = combine([store], [1.0])
    assert alone.labels.tolist() == store.labels.tolist()
    assert alone.scores.tolist() == store.scores.tolist()
    assert alone.labels.dtype == np.int32
    assert alone.scores.dtype == np.float32


def test_meta_keeps_what_members_share():
    first, second = stores(1, members=2)
    first = replace(first, meta={"split": "validation", "trial": "1"})
    second = replace(second, meta={"split": "validation", "trial": "2"})
    assert combine([first, second], [0.25, 0.75]).meta == {"split": "validation", "weights": "[0.25, 0.75]"}


@given(ids=st.lists(st.text(max_size=3), max_size=30), share=st.floats(0, 0.99))
def test_the_split_depends_on_the_id_alone(ids, share):
    chosen, reported = split_videos(ids, share)
    assert sorted([*chosen, *reported]) == list(range(len(ids)))
    assert not {ids[row] for row in chosen} & {ids[row] for row in reported}
    backwards = split_videos(ids[::-1], share)[1]
    assert sorted(ids[row] for row in reported) == sorted(ids[::-1][row] for row in backwards)


def test_the_split_has_its_share():
    _, reported = split_videos([f"{number:04d}" for number in range(10_000)], 0.3)
    assert len(reported) == pytest.approx(3_000, abs=150)
    assert len(split_videos(["a", "b"], 0.0)[0]) == 2


def test_lists_are_taken_by_row():
    truth = stores(5, videos=9)[0].truth
    rows = np.array([4, 0, 4, 8])
    taken = take_lists(truth, rows)
    assert [taken.list_of(place).tolist() for place in range(4)] == [truth.list_of(row).tolist() for row in rows]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), data=st.data())
def test_a_resample_has_the_gap_of_its_videos(seed, data):
    store = stores(seed, videos=6, grid=2**20)[0]  # no ties between different videos
    times = np.array(data.draw(st.lists(st.integers(0, 4), min_size=6, max_size=6)))
    drawn = np.repeat(np.arange(6), times)
    assert resampled_gap(rank_pairs(store, np.arange(6)), times) == pytest.approx(gap_on(store, drawn), abs=1e-12)


def test_gains_are_paired_and_seeded():
    better, worse = (rank_pairs(store, np.arange(40)) for store in stores(6, videos=40, members=2))
    gains = resampled_gains(better, worse, 20, seed=1)
    assert gains.tolist() == resampled_gains(better, worse, 20, seed=1).tolist()
    assert gains.tolist() == (-resampled_gains(worse, better, 20, seed=1)).tolist()
    assert not resampled_gains(better, better, 20, seed=1).any()
