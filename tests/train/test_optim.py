"""Steps: the rate, clipping, and what decays."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.amp import GradScaler

from dmlray.config import AdamConfig, AdamWConfig, ScheduleFreeConfig
from dmlray.train.optim import OptimizerConfig, build_optimizer, optimizer_step, set_training

NO_SCALER = GradScaler("cpu", enabled=False)
KINDS = [AdamConfig(), AdamWConfig(), ScheduleFreeConfig()]


def layer(value: float = 0.0) -> nn.Linear:
    linear = nn.Linear(2, 1)
    for parameter in linear.parameters():
        nn.init.constant_(parameter, value)
    return linear


def step(model: nn.Linear, optimizer: Any, gradients: list[float], rate: float, clip: float | None = None) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.tensor([gradients]) if parameter.dim() > 1 else torch.zeros(1)
    set_training(optimizer, True)
    optimizer_step(optimizer, NO_SCALER, rate, clip)
    set_training(optimizer, False)


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.kind)
def test_the_first_step_is_the_rate(config: OptimizerConfig) -> None:
    model = layer()
    optimizer = build_optimizer(model, config)
    step(model, optimizer, [1.0, 1.0], rate=0.0025)
    assert model.weight.detach().numpy() == pytest.approx(-0.0025, rel=1e-4)


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.kind)
@pytest.mark.parametrize(("clip_norm", "norm"), [(1.0, 1.0), (None, 5.0), (10.0, 5.0)])
def test_gradients_are_clipped_by_their_common_norm(
    config: OptimizerConfig, clip_norm: float | None, norm: float
) -> None:
    model = layer()
    optimizer = build_optimizer(model, config)
    seen: list[float] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append(float(model.weight.grad.norm())))  # type: ignore[union-attr]
    step(model, optimizer, [3.0, 4.0], rate=0.01, clip=clip_norm)
    assert seen == [pytest.approx(norm, rel=1e-5)]


@pytest.mark.parametrize("kind", [AdamWConfig, ScheduleFreeConfig])
def test_weights_decay_by_the_rate_and_biases_do_not(kind: Any) -> None:
    model = layer(1.0)
    optimizer = build_optimizer(model, kind(weight_decay=0.5))
    step(model, optimizer, [0.0, 0.0], rate=0.1)
    assert model.weight.detach().numpy() == pytest.approx(0.95)
    assert model.bias.item() == 1.0


def test_the_biases_of_recurrent_units_and_norms_do_not_decay() -> None:
    model = nn.ModuleList([nn.LSTM(2, 3), nn.LayerNorm(3)])
    groups = build_optimizer(model, AdamWConfig(weight_decay=0.5)).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.5, 2), (0.0, 4)]


def test_schedule_free_predicts_with_an_average_and_trains_elsewhere() -> None:
    model = layer()
    optimizer = build_optimizer(model, ScheduleFreeConfig())
    for gradient in (1.0, 1.0, -1.0):
        step(model, optimizer, [gradient, gradient], rate=0.1)
    predicting = model.weight.detach().clone()
    set_training(optimizer, True)
    assert not torch.equal(model.weight, predicting)
    set_training(optimizer, False)
    assert model.weight.detach().numpy() == pytest.approx(predicting.numpy(), rel=1e-5)
