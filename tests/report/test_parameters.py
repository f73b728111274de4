"""What the trials say about a parameter."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmlray.report.costs import cost_of
from dmlray.report.parameters import Parameter, points, rank_correlation, searched_parameters, slice_sentence
from dmlray.sweep.records import TrialRecord, TrialState

NUMBER, CHOICE = Parameter("rate", log=True), Parameter("cell", ("gru", "lstm"))


def trial(number: int, gap: float, state: TrialState = TrialState.complete, **params: object) -> TrialRecord:
    return TrialRecord(number, state, params, {}, curve=((1, {"val_gap": gap}),))


def sentence(parameter: Parameter, trials: list[TrialRecord]) -> str:
    return slice_sentence(parameter, points(parameter, trials))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=20))
def test_rank_correlation_sees_order_alone(pairs: list[tuple[int, int]]) -> None:
    x, y = zip(*pairs, strict=True)
    rho = rank_correlation(x, y)
    if math.isnan(rho):
        assert len(set(x)) == 1 or len(set(y)) == 1
        return
    assert rank_correlation([math.exp(value) for value in x], y) == pytest.approx(rho)
    assert rank_correlation([-value for value in x], y) == pytest.approx(-rho)
    assert rank_correlation(x, x) == pytest.approx(1)


def test_rank_correlation_shares_ties() -> None:
    assert rank_correlation([1, 2, 2, 3], [1, 2, 3, 4]) == pytest.approx(0.9486833)  # by hand, as scipy has it


def test_a_trend_is_told_only_where_there_is_one() -> None:
    rising = [trial(number, number / 10, rate=10.0**number) for number in range(9)]
    assert "tends to rise with it (rank correlation +1.00)" in sentence(NUMBER, rising)
    assert "the best, 0.8000, at 1e+08 (trial 8)" in sentence(NUMBER, rising)
    hill = [trial(number, -abs(number - 5.0), rate=float(number)) for number in range(11)]
    assert "neither clearly rises nor falls" in sentence(NUMBER, hill)
    assert "the best quarter stands at 4 to 6" in sentence(NUMBER, hill)
    assert "3 complete trials are too few" in sentence(NUMBER, rising[:3])


def test_only_complete_trials_compare() -> None:
    trials = [trial(0, 0.5, cell="gru"), trial(1, 0.9, TrialState.pruned, cell="lstm"), trial(2, 0.4)]
    assert sentence(CHOICE, trials) == "Only gru was tried: median 0.5000 over 1 trial."
    assert sentence(CHOICE, trials[1:]) == "No complete trial has this parameter yet."


def test_options_are_told_apart_where_they_can_be() -> None:
    gru = [trial(number, 0.5 + number / 100, cell="gru") for number in range(4)]
    worse = [trial(number + 4, 0.3, cell="lstm") for number in range(4)]
    alike = [trial(number + 4, 0.51, cell="lstm") for number in range(4)]
    assert sentence(CHOICE, gru + worse).endswith("lstm follows with 0.3000 over 4 trials, below the quartiles of gru.")
    assert sentence(CHOICE, gru + alike).endswith("inside the quartiles of gru.")
    assert sentence(CHOICE, gru + worse[:1]).endswith("too few to tell them apart.")


def test_parameters_are_guessed_without_a_space() -> None:
    trials = [trial(0, 0.5, rate=0.1, clip=None, both=True), trial(1, 0.5, rate=1, clip=1.0)]
    assert searched_parameters(None, trials) == (
        Parameter("rate"),
        Parameter("clip", ("1.0", "null")),
        Parameter("both", ("true",)),
    )


def test_costs_add_up() -> None:
    curve = ((1, {"epoch_s": 10.0, "wait_share": 0.1}), (2, {"epoch_s": 20.0, "wait_share": 0.2}))
    cost = cost_of(TrialRecord(3, TrialState.running, {}, {}, curve=curve))
    assert list(cost.seconds.values()) == [25.0, 5.0, 0.0, 0.0, 0.0, 0.0]


def test_costs_are_told_apart() -> None:
    spent = {"epoch_s": 10.0, "wait_share": 0.1, "evaluation_s": 3.0, "checkpoint_s": 1.0}
    curve = ((1, spent | {"startup_s": 2.0}), (2, spent))
    began = datetime(2026, 11, 22, tzinfo=UTC)
    times = {"attempts": 1, "started": began, "finished": began + timedelta(seconds=37)}
    cost = cost_of(TrialRecord(3, TrialState.complete, {}, {}, curve=curve, metrics={"test_s": 4.0}, **times))
    assert cost.seconds == {
        "training": 18.0,
        "waiting for data": 2.0,
        "evaluation": 10.0,
        "checkpoints": 2.0,
        "start-up": 2.0,
        "other": 3.0,
    }
    assert cost.total_s == 37.0
