"""Averages of parameters, against the plain recurrences that they stand for."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from dmlray.train.averaging import MovingAverage, mean_of


@settings(max_examples=15)
@given(values=st.lists(st.floats(-5, 5), min_size=1, max_size=12), decay=st.floats(0.1, 0.99))
def test_moving_average(values: list[float], decay: float) -> None:
    model = nn.Linear(2, 1)
    average = MovingAverage(model, decay)
    expected = values[0]
    for step, value in enumerate(values, start=1):
        for parameter in model.parameters():
            nn.init.constant_(parameter, value)
        average.update(model)
        kept = min(decay, (1 + step) / (10 + step))
        expected = kept * expected + (1 - kept) * value
    assert average.steps == len(values)
    for parameter in average.model.parameters():
        assert_close(parameter.detach(), torch.full_like(parameter, expected), rtol=1e-4, atol=1e-5)


@settings(max_examples=15)
@given(values=st.lists(st.floats(-5, 5), min_size=1, max_size=6))
def test_mean_of_states(values: list[float]) -> None:
    states = [{"weight": torch.full((2, 3), value)} for value in values]
    found = mean_of(iter(states))["weight"]
    assert_close(found, torch.full((2, 3), sum(values) / len(values)), rtol=1e-5, atol=1e-5)
    assert_close(states[0]["weight"], torch.full((2, 3), values[0]))
