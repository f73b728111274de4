"""The laws of the loop: it learns, it is deterministic, and it resumes exactly."""

from collections.abc import Callable, Generator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from dmlray.errors import TrainingError
from dmlray.train.checkpoint import load_checkpoint, save_checkpoint
from dmlray.train.loop import Training, train_epochs
from dmlray.train.state import restore

Start = Callable[[], Training]


def parameters(training: Training) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in training.model.parameters()])


def test_learns_and_measures(start: Start, batches: Any) -> None:
    stats = list(train_epochs(start(), batches))
    assert [epoch.epoch for epoch in stats] == [1, 2, 3, 4, 5]
    assert stats[-1].loss < stats[0].loss
    metrics = stats[0].metrics()
    assert metrics.keys() == {"train_loss", "videos_per_s", "epoch_s", "wait_share"}
    assert metrics["videos_per_s"] == pytest.approx(40 / metrics["epoch_s"])
    assert 0 < metrics["wait_share"] < 1


def test_loss_is_the_mean_over_videos(start: Start, batches: Any) -> None:
    training = start()
    training.optimizer.param_groups[0]["params"] = []  # nothing moves
    training.model.get_submodule("layers.2").p = 0.0  # type: ignore[assignment]
    (first,) = islice(train_epochs(training, batches), 1)
    batches.size = 7  # a short last batch
    (second,) = islice(train_epochs(training, batches), 1)
    assert first.loss == pytest.approx(second.loss, rel=1e-3)  # the penalty is a mean over each batch


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_resume_is_exact(start: Start, batches: Any, snapshot: Any, folder: Path, stop_after: int) -> None:
    whole = start()
    expected = [stats.loss for stats in train_epochs(whole, batches)]
    first = start()
    losses = [stats.loss for stats in islice(train_epochs(first, batches), stop_after)]
    digest = save_checkpoint(folder / "c.safetensors", snapshot(first))
    torch.rand(5)  # what else the process draws does not matter
    second = start()
    state = load_checkpoint(folder / "c.safetensors", digest, second.config)
    restore(folder / "c.safetensors", state, second)
    losses += [stats.loss for stats in train_epochs(second, batches)]
    assert losses == expected
    assert torch.equal(parameters(second), parameters(whole))
    assert (second.videos, second.epoch) == (whole.videos, whole.epoch) == (200, 5)


def test_leaves_the_generator_of_the_process_alone(start: Start, batches: Any) -> None:
    before = torch.get_rng_state()
    for _ in train_epochs(start(), batches):
        pass
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_ends_it(start: Start, batches: Any, value: float) -> None:
    training = start()
    epochs = train_epochs(training, batches)
    next(epochs)
    batches.features[batches_third_of_second_epoch(batches)] = value
    with pytest.raises(TrainingError, match="epoch 2, step 3: the loss is not finite") as caught:
        next(epochs)
    assert (caught.value.reason, caught.value.epoch, caught.value.step) == ("nan", 2, 3)


def batches_third_of_second_epoch(batches: Any) -> int:
    return int(next(islice(batches.epoch(1), 2, None)).indices[0])


def test_out_of_gpu_memory_has_its_reason(start: Start, batches: Any) -> None:
    training = start()
    training.model.register_forward_pre_hook(raise_out_of_memory)
    with pytest.raises(TrainingError, match="epoch 1: not even one video at a time fits in memory") as caught:
        next(train_epochs(training, batches))
    assert caught.value.reason == "out_of_memory"
    assert "encoder.kind=none" in str(caught.value)
    assert str(caught.value).endswith("(CUDA out of memory. Tried to allocate 1 TiB)")


def raise_out_of_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 TiB\nmore")


def test_nothing_to_train_on(start: Start) -> None:
    class Empty:
        def epoch(self, epoch: int) -> Generator[Any, None, None]:
            yield from ()

    with pytest.raises(TrainingError, match="no video"):
        next(train_epochs(start(), Empty()))
