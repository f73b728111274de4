"""Asynchronous successive halving as laws over histories."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dmlray.sweep.rungs import rung_levels
from dmlray.sweep.stopping import StoppingConfig, should_stop

NUMBERS = st.one_of(st.floats(0, 1), st.sampled_from([0.25, 0.5, math.nan, math.inf]))
Histories = dict[int, list[tuple[int, float]]]


@st.composite
def histories(draw: st.DrawFn) -> Histories:
    curves = draw(st.lists(st.lists(NUMBERS, max_size=9), min_size=1, max_size=9))
    return {number: list(enumerate(curve, start=1)) for number, curve in enumerate(curves)}


CONFIGS = st.builds(StoppingConfig, rule=st.just("asha"), min_epochs=st.integers(1, 3), eta=st.integers(2, 4))


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
            assert number != first or not should_stop(config, told, number)


@settings(deadline=None, max_examples=60)
@given(config=CONFIGS, told=histories())
def test_stops_at_rungs_only(config: StoppingConfig, told: Histories) -> None:
    for number, history in told.items():
        if should_stop(config, told, number):
            assert len(history) in rung_levels(config.min_epochs, 9, config.eta)


@settings(deadline=None, max_examples=60)
@given(config=CONFIGS, told=histories(), seed=st.integers(0, 99))
def test_order_of_trials_is_irrelevant(config: StoppingConfig, told: Histories, seed: int) -> None:
    shuffled = random.Random(seed).sample(sorted(told.items()), k=len(told))
    assert all(should_stop(config, told, number) == should_stop(config, dict(shuffled), number) for number in told)


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
        assert should_stop(config, told, number) == should_stop(config, grown, number)


@settings(deadline=None, max_examples=60)
@given(config=CONFIGS, told=histories())
def test_trials_without_a_number_count_for_nobody_else(config: StoppingConfig, told: Histories) -> None:
    more = {**told, 99: [(epoch, math.nan) for epoch in range(1, 10)]}
    assert all(should_stop(config, told, number) == should_stop(config, more, number) for number in told)


def test_keeps_the_best_half() -> None:
    config = StoppingConfig(rule="asha", min_epochs=1, eta=2)
    told = {0: [(1, 0.4)], 1: [(1, 0.3)], 2: [(1, 0.4)], 3: [(1, 0.1)]}
    assert [number for number in told if should_stop(config, told, number)] == [1, 3]


def test_ties_go_to_the_lowest_number() -> None:
    config = StoppingConfig(rule="asha", min_epochs=1, eta=2)
    assert [should_stop(config, {0: [(1, 0.4)], 1: [(1, 0.4)]}, number) for number in (0, 1)] == [False, True]


def test_stops_a_trial_that_has_only_nan() -> None:
    config = StoppingConfig(rule="asha", min_epochs=1, eta=2)
    assert should_stop(config, {0: [(1, 0.1)], 1: [(1, math.nan)]}, 1)


def test_none_stops_nothing() -> None:
    assert not should_stop(StoppingConfig(), {0: [(1, 0.9)], 1: [(1, 0.8)], 2: [(1, 0.1)]}, 2)


def test_knows_nothing_of_a_trial_without_history() -> None:
    assert not should_stop(StoppingConfig(rule="asha"), {}, 4)


@pytest.mark.parametrize("wrong", [{"eta": 1}, {"min_epochs": 0}, {"rule": "luck"}, {"etta": 3}])
def test_refuses_nonsense(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        StoppingConfig.model_validate(wrong)
