"""Stopping rules as laws over histories."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dmlray.sweep.rungs import bracket_sizes, rung_levels
from dmlray.sweep.stopping import StoppingConfig, should_stop

NUMBERS = st.one_of(st.floats(0, 1), st.sampled_from([0.25, 0.5, math.nan, math.inf]))
Histories = dict[int, list[tuple[int, float]]]


@st.composite
def histories(draw: st.DrawFn) -> Histories:
    curves = draw(st.lists(st.lists(NUMBERS, max_size=9), min_size=1, max_size=9))
    return {number: list(enumerate(curve, start=1)) for number, curve in enumerate(curves)}


ASHA = st.builds(StoppingConfig, rule=st.just("asha"), min_epochs=st.integers(1, 3), eta=st.integers(2, 4))
RULES = st.sampled_from(["none", "asha", "hyperband", "median"])
CONFIGS = st.builds(StoppingConfig, rule=RULES, min_epochs=st.integers(1, 3), eta=st.integers(2, 4))


def best_at(history: list[tuple[int, float]], rung: int) -> float:
    return max((value for epoch, value in history if epoch <= rung and math.isfinite(value)), default=-math.inf)


@settings(deadline=None, max_examples=60)
@given(config=CONFIGS, told=histories())
def test_the_best_at_a_rung_is_never_stopped(config: StoppingConfig, told: Histories) -> None:
    for number, history in told.items():
        reached = [other for other in told.values() if len(other) >= len(history)]
        if history and all(best_at(history, len(history)) >= best_at(other, len(history)) for other in reached):
            first = min(
                other
                for other, curve in told.items()
                if len(curve) >= len(history) and best_at(curve, len(history)) == best_at(history, len(history))
            )
            assert number != first or not should_stop(config, told, number, 9)


@settings(deadline=None, max_examples=60)
@given(config=ASHA, told=histories())
def test_stops_at_rungs_only(config: StoppingConfig, told: Histories) -> None:
    for number, history in told.items():
        if should_stop(config, told, number, 9):
            assert len(history) in rung_levels(config.min_epochs, 9, config.eta)


@settings(deadline=None, max_examples=60)
@given(config=CONFIGS, told=histories(), seed=st.integers(0, 99))
def test_order_of_trials_is_irrelevant(config: StoppingConfig, told: Histories, seed: int) -> None:
    shuffled = random.Random(seed).sample(sorted(told.items()), k=len(told))
    assert all(
        should_stop(config, told, number, 9) == should_stop(config, dict(shuffled), number, 9) for number in told
    )


@settings(deadline=None, max_examples=60)
@given(config=CONFIGS, told=histories(), later=st.lists(NUMBERS, min_size=1, max_size=9))
def test_what_others_report_later_changes_no_decision(
    config: StoppingConfig, told: Histories, later: list[float]
) -> None:
    for number, history in told.items():
        grown = {
            other: curve
            if other == number or len(curve) < len(history)
            else curve + list(enumerate(later, start=len(curve) + 1))
            for other, curve in told.items()
        }
        assert should_stop(config, told, number, 9) == should_stop(config, grown, number, 9)


@settings(deadline=None, max_examples=60)
@given(config=CONFIGS, told=histories())
def test_trials_without_a_number_count_for_nobody_else(config: StoppingConfig, told: Histories) -> None:
    more = {**told, 99: [(epoch, math.nan) for epoch in range(1, 10)]}
    for number in told:
        assert should_stop(config, told, number, 9) == should_stop(config, more, number, 9)


def test_keeps_the_best_half() -> None:
    config = StoppingConfig(rule="asha", min_epochs=1, eta=2)
    told = {0: [(1, 0.4)], 1: [(1, 0.3)], 2: [(1, 0.4)], 3: [(1, 0.1)]}
    assert [number for number in told if should_stop(config, told, number, 9)] == [1, 3]


def test_ties_go_to_the_lowest_number() -> None:
    config = StoppingConfig(rule="asha", min_epochs=1, eta=2)
    assert [should_stop(config, {0: [(1, 0.4)], 1: [(1, 0.4)]}, number, 9) for number in (0, 1)] == [False, True]


def test_stops_a_trial_that_has_only_nan() -> None:
    config = StoppingConfig(rule="asha", min_epochs=1, eta=2)
    assert should_stop(config, {0: [(1, 0.1)], 1: [(1, math.nan)]}, 1, 9)


def test_none_stops_nothing() -> None:
    assert not should_stop(StoppingConfig(), {0: [(1, 0.9)], 1: [(1, 0.8)], 2: [(1, 0.1)]}, 2, 9)


def test_knows_nothing_of_a_trial_without_history() -> None:
    assert not should_stop(StoppingConfig(rule="asha"), {}, 4, 9)


def test_hyperband_halves_within_brackets_that_begin_later_and_later() -> None:
    config = StoppingConfig(rule="hyperband", min_epochs=1, eta=3)
    sizes = bracket_sizes(1, 9, 3)
    assert sizes == (9, 5, 3)
    told = {number: [(epoch, 1.0 - number / 100) for epoch in range(1, 4)] for number in range(17)}
    at = {epoch: {n: [point for point in told[n] if point[0] <= epoch] for n in told} for epoch in (1, 2, 3)}
    stopped = {epoch: [n for n in told if should_stop(config, at[epoch], n, 9)] for epoch in at}
    assert stopped == {1: list(range(3, 9)), 2: [], 3: [*range(3, 9), *range(10, 14)]}


def test_median_stops_what_never_reached_the_mean_of_most() -> None:
    config = StoppingConfig(rule="median", min_epochs=2)
    told = {number: [(1, 0.2 + number / 10), (2, 0.4 + number / 10)] for number in range(4)}  # means 0.3, 0.4, 0.5, 0.6
    assert should_stop(config, {**told, 9: [(1, 0.1), (2, 0.44)]}, 9, 9)
    assert not should_stop(config, {**told, 9: [(1, 0.45), (2, 0.1)]}, 9, 9), "the best so far counts"
    assert not should_stop(config, {**told, 9: [(1, 0.0)]}, 9, 9), "not before min_epochs"
    del told[3]
    assert not should_stop(config, {**told, 9: [(1, 0.0), (2, 0.0)]}, 9, 9), "three others are too few"


@pytest.mark.parametrize("wrong", [{"eta": 1}, {"min_epochs": 0}, {"rule": "luck"}, {"etta": 3}])
def test_refuses_nonsense(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        StoppingConfig.model_validate(wrong)
