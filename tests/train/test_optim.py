"""The staircase of the learning rate, and clipping."""

import pytest
import torch
from torch import nn

from dmlray.config import AdamConfig
from dmlray.train.optim import build_optimizer, learning_rate, optimizer_step


def test_rate_falls_in_steps() -> None:
    config = AdamConfig(learning_rate=0.01, decay=0.5, decay_examples=100)
    rates = [learning_rate(videos, config) for videos in (0, 99, 100, 199, 200)]
    assert rates == [0.01, 0.01, 0.005, 0.005, 0.0025]


def test_step_uses_the_rate_of_the_videos_seen() -> None:
    config = AdamConfig(learning_rate=0.01, decay=0.5, decay_examples=100)
    weight = nn.Parameter(torch.zeros(3))
    optimizer = build_optimizer([weight], config)
    weight.grad = torch.ones(3)
    optimizer_step(optimizer, 250, config)
    assert weight.detach().numpy() == pytest.approx(-0.0025, rel=1e-4)  # Adam's first step is the rate


@pytest.mark.parametrize(("clip_norm", "norm"), [(1.0, 1.0), (None, 5.0), (10.0, 5.0)])
def test_gradients_are_clipped_by_their_common_norm(clip_norm: float | None, norm: float) -> None:
    config = AdamConfig(clip_norm=clip_norm)
    weights = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))]
    optimizer = build_optimizer(weights, config)
    for weight, gradient in zip(weights, (3.0, 4.0), strict=True):
        weight.grad = torch.tensor([gradient])
    optimizer_step(optimizer, 0, config)
    found = torch.cat([weight.grad for weight in weights if weight.grad is not None]).norm()
    assert float(found) == pytest.approx(norm, rel=1e-5)
