"""When a sweep has had enough, from its trials alone."""

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dmlray.errors import ConfigError
from dmlray.sweep.budgets import GAIN_TRIALS, Budget, ending, expected_gain, gpu_seconds, seconds_run
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.settings import SweepConfig, end_of, resumed, wanted


def trial(number: int, value: float | None = None, **epochs: float) -> TrialRecord:
    curve = ((1, {"val_gap": value or 0.0, **epochs}),)
    state = TrialState.running if value is None else TrialState.complete
    return TrialRecord(number, state, {}, {}, curve=curve, value=value)


def config(**changes: object) -> SweepConfig:
    settled = {"name": "toy", "data": Path("/data"), "fingerprints": {}, "trials": 8, "tracking_uri": "sqlite:///m.db"}
    return SweepConfig.model_validate(settled | changes)


def test_nothing_ends_a_sweep_that_has_trials_left() -> None:
    assert ending(2, Budget(hours=1, gpu_hours=1, min_gain=0.1), [trial(0, 0.5)]) is None


def test_trials_that_could_never_be_built_do_not_count() -> None:
    refused = replace(trial(1), state=TrialState.failed, reason="bad_config")
    assert ending(2, Budget(), [trial(0, 0.5), refused]) is None
    assert ending(2, Budget(), [trial(0, 0.5), refused, trial(2)]) == "its 2 trials"


def test_hours_go_on_where_an_earlier_driver_left_them() -> None:
    trials = [trial(0, 0.5, sweep_s=1800.0), trial(1, 0.5, sweep_s=3700.0), trial(2, 0.4, sweep_s=3600.0)]
    assert seconds_run(trials) == 3700
    assert ending(9, Budget(hours=1), trials) == "its 1 hours (1.03 used)"
    assert ending(9, Budget(hours=1.1), trials) is None


def test_gpu_hours_are_those_of_all_epochs() -> None:
    trials = [trial(0, 0.5, gpu_s=1000.0), trial(1, None, gpu_s=900.0)]
    assert gpu_seconds(trials) == 1900
    assert ending(9, Budget(gpu_hours=0.5), trials) == "its 0.5 GPU-hours (0.528 used)"


def test_gpu_hours_need_a_gpu() -> None:
    with pytest.raises(ConfigError, match="--gpus-per-trial above 0"):
        resumed(config(), None, {}, None, {"gpu_hours": 2.0})
    assert resumed(config(), None, {"gpus_per_trial": 0.5}, None, {"gpu_hours": 2.0}).budget == Budget(gpu_hours=2.0)


def test_a_resume_keeps_the_budgets_that_it_does_not_name() -> None:
    assert resumed(config(budget={"hours": 1, "min_gain": 0.01}), None, {}, None, {"hours": 3.0}).budget == Budget(
        hours=3.0, min_gain=0.01
    )


def test_where_a_budget_ended_the_sweep_it_wants_no_more_than_it_has() -> None:
    trials = [trial(0, 0.5, sweep_s=4000.0)]
    assert (wanted(config(), trials), end_of(config(), trials)) == (8, None)
    assert wanted(config(budget={"hours": 1}), trials) == 1
    assert end_of(config(exhausted=True), trials) == "its space: every configuration was tried (1 trials)"


def test_expected_gain_is_what_ten_more_draws_bring_on_average() -> None:
    draw = random.Random(3)
    values = [draw.gauss(0.6, 0.02) for _ in range(GAIN_TRIALS)]
    mean, spread = sum(values) / 10, math.sqrt(sum((v - sum(values) / 10) ** 2 for v in values) / 9)
    best = max(values)
    gains = [max(0.0, max(draw.gauss(mean, spread) for _ in range(10)) - best) for _ in range(20_000)]
    assert expected_gain(values) == pytest.approx(sum(gains) / 20_000, rel=0.05)


@settings(deadline=None)
@given(values=st.lists(st.floats(0, 1), min_size=GAIN_TRIALS, max_size=30), better=st.floats(0, 1))
def test_a_better_best_leaves_less_to_gain(values: list[float], better: float) -> None:
    gain = expected_gain(values)
    assert gain is not None
    assert gain >= 0
    raised = expected_gain([max(values) + better, *values])
    assert raised is not None
    assert raised <= gain + 1e-12


def test_few_values_say_nothing_and_equal_ones_promise_nothing() -> None:
    assert expected_gain([0.5] * (GAIN_TRIALS - 1)) is None
    assert expected_gain([0.5] * GAIN_TRIALS) == 0.0
    same = [trial(number, 0.5) for number in range(GAIN_TRIALS)]
    assert ending(99, Budget(min_gain=1e-4), same) == "an expected gain of 0 GAP from 10 more trials, below 0.0001"


@pytest.mark.parametrize("wrong", [{"hours": 0}, {"gpu_hours": -1}, {"min_gain": 0}, {"min_gain": 1}, {"days": 1}])
def test_refuses_nonsense(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Budget.model_validate(wrong)
