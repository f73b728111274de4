"""Rungs are powers of eta times the first, exactly."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dmlray.sweep.rungs import bracket_of, bracket_sizes, rung_levels


def test_loses_no_rung_to_rounding() -> None:
    assert rung_levels(1, 243, 3) == (1, 3, 9, 27, 81, 243)


def test_has_no_rung_beyond_the_last_epoch() -> None:
    assert rung_levels(2, 1, 3) == ()


@given(first=st.integers(1, 20), last=st.integers(1, 5000), eta=st.integers(2, 5))
def test_each_rung_is_eta_times_the_one_before(first: int, last: int, eta: int) -> None:
    levels = rung_levels(first, last, eta)
    assert all(later == eta * earlier for earlier, later in pairwise(levels))
    assert all(first <= level <= last for level in levels)
    assert not levels or levels[-1] * eta > last


def test_brackets_are_those_of_the_paper() -> None:
    assert bracket_sizes(1, 81, 3) == (81, 34, 15, 8, 5)
    assert len(bracket_sizes(1, 243, 3)) == 6, "floats lose one"
    assert bracket_sizes(3, 2, 3) == (1,), "nothing to decide: one bracket"


@given(first=st.integers(1, 9), last=st.integers(1, 300), eta=st.integers(2, 5), rounds=st.integers(1, 2))
def test_every_round_fills_every_bracket(first: int, last: int, eta: int, rounds: int) -> None:
    sizes = bracket_sizes(first, last, eta)
    found = [bracket_of(number, sizes) for number in range(rounds * sum(sizes))]
    assert [found.count(bracket) for bracket in range(len(sizes))] == [rounds * size for size in sizes]
    assert found[: sum(sizes)] == sorted(found[: sum(sizes)])
