"""Numbers of half the size: where they are used, and that float16's scale follows what overflows."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from dmlray.train.checkpoint import load_checkpoint, save_checkpoint
from dmlray.train.loop import Training, train_epochs
from dmlray.train.precision import Precision
from dmlray.train.state import restore
from tests.train.trials import CPU

Start = Callable[[], Training]
HAS_GPU = torch.cuda.is_available()


@pytest.mark.parametrize("name", ["bfloat16", "float16", "float32"])
def test_a_cpu_computes_in_float32(name: str) -> None:
    precision = Precision.named(name, CPU, nn.GRU(1, 1))
    with precision.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    assert not precision.scaler.is_enabled()


@pytest.mark.thorough
def test_float16_trains_like_float32(start: Start, batches: Any) -> None:
    plain, half = start(), start()
    half.precision = Precision(torch.float16, CPU)
    expected = [stats.loss for stats in train_epochs(plain, batches)]
    assert [stats.loss for stats in train_epochs(half, batches)] == pytest.approx(expected, rel=0.05)
    assert half.precision.scaler.get_scale() > 2.0**10, "it settles where gradients fit"


def test_a_gradient_that_overflows_is_no_step(start: Start, batches: Any) -> None:
    training = start()
    training.precision = Precision(torch.float16, CPU)
    training.precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = torch.cat([parameter.detach().flatten() for parameter in training.model.parameters()])
    batches.labels = batches.labels[:8]  # one step
    stats = next(train_epochs(training, batches))
    after = torch.cat([parameter.detach().flatten() for parameter in training.model.parameters()])
    assert torch.equal(before, after)
    assert training.precision.scaler.get_scale() == 2.0**39
    assert stats.loss > 0


def test_the_scale_is_in_the_checkpoint(start: Start, batches: Any, snapshot: Any, folder: Any) -> None:
    first, second = start(), start()
    for training in (first, second):
        training.precision = Precision(torch.float16, CPU)
    first.precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    next(train_epochs(first, batches))
    digest = save_checkpoint(folder / "c.safetensors", snapshot(first))
    restore(folder / "c.safetensors", load_checkpoint(folder / "c.safetensors", digest, first.config), second)
    assert second.precision.scaler.state_dict() == first.precision.scaler.state_dict()
    assert second.precision.scaler.get_scale() < 2.0**40
    for training in (first, second):
        next(train_epochs(training, batches))
    assert second.precision.scaler.state_dict() == first.precision.scaler.state_dict(), "they go on alike"


@pytest.mark.skipif(not HAS_GPU, reason="needs a GPU: a CPU computes in float32")
@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_a_gpu_computes_in_half(name: str) -> None:
    device = torch.device("cuda")
    precision = Precision.named(name, device, nn.Linear(1, 1))
    with precision.autocast():
        found = torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)
    assert found.dtype == getattr(torch, name)
    assert precision.scaler.is_enabled() == (name == "float16")
    assert Precision.named(name, device, nn.Sequential(nn.GRU(1, 1))).scaler.is_enabled(), "cuDNN's are in float16"
