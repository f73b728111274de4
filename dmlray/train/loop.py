"""Training, epoch by epoch. No Ray: it runs on a bare machine with PyTorch alone.

What a step draws at random depends on the seed and the epoch's number only, so that training resumed after any epoch
goes on exactly as if it had never stopped: on CPU the same losses and, bit for bit, the same parameters.
"""

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dmlray.config import TrialConfig
from dmlray.data.batch import Batch
from dmlray.errors import TrainingError
from dmlray.failpoints import reach
from dmlray.seeding import derive_seed
from dmlray.train.loss import cross_entropy
from dmlray.train.optim import optimizer_step
from dmlray.train.threads import seeded

_GPU_LOOK_STEPS = 50  # how often a GPU's losses are looked at: each look waits for it


class BatchSource(Protocol):
    """Where batches come from, such as `data.batch.Batches`: the same for the same ``epoch`` (from 0)."""

    def epoch(self, epoch: int) -> Generator[Batch, None, None]:
        """Each video of the epoch once."""


@dataclass
class Training:
    """A model on its way: ``epoch`` counts finished epochs, ``videos`` all videos seen, repeats included."""

    model: nn.Module
    optimizer: Optimizer
    config: TrialConfig
    seed: int
    device: torch.device
    epoch: int = 0
    videos: int = 0


@dataclass(frozen=True)
class EpochStats:
    """One epoch of training: ``loss`` is the mean over its videos; ``wait_s``, of ``epoch_s``, had no batch."""

    epoch: int  # from 1
    videos: int
    loss: float
    epoch_s: float
    wait_s: float

    def metrics(self) -> dict[str, float]:
        """As they stand in a report."""
        return {
            "train_loss": self.loss,
            "videos_per_s": self.videos / self.epoch_s,
            "epoch_s": self.epoch_s,
            "wait_share": self.wait_s / self.epoch_s,
        }


def train_epochs(training: Training, batches: BatchSource) -> Iterator[EpochStats]:
    """Train the epochs that ``training`` still lacks, pausing after each; stop asking to stop training.

    Raises TrainingError: reason ``nan`` when a loss is not finite, ``out_of_memory`` when the GPU's is spent.
    """
    while training.epoch < training.config.epochs:
        yield _train_epoch(training, batches)


@contextmanager
def device_memory_watched(epoch: int) -> Iterator[None]:
    """Turn CUDA's out-of-memory error into a TrainingError; ``epoch`` counts from 1."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError("out_of_memory", str(error).partition("\n")[0], epoch) from error


def _train_epoch(training: Training, batches: BatchSource) -> EpochStats:
    started, number = time.perf_counter(), training.epoch + 1
    losses, waits = _Losses(training.device, number), _Waits()
    training.model.train()
    seed = derive_seed(training.seed, "epoch", training.epoch)
    with (
        seeded(seed, training.device),
        device_memory_watched(number),
        closing(batches.epoch(training.epoch)) as epoch,
    ):
        for step, batch in enumerate(waits.over(epoch), start=1):
            reach("step", epoch=number, step=step)
            losses.add(_train_step(training, batch), len(batch))
            training.videos += len(batch)
        mean = losses.mean()
    training.epoch = number
    return EpochStats(number, losses.videos, mean, time.perf_counter() - started, waits.seconds)


def _train_step(training: Training, batch: Batch) -> Tensor:
    batch = batch.to(training.device)
    training.optimizer.zero_grad(set_to_none=True)
    on_gpu = training.device.type == "cuda"
    with torch.autocast(training.device.type, dtype=torch.bfloat16, enabled=on_gpu):
        output = training.model(batch.features, batch.mask)
    loss: Tensor = cross_entropy(output.logits, batch.labels) + output.penalty
    torch.autograd.backward(loss)
    optimizer_step(training.optimizer, training.videos, training.config.optimizer)
    return loss.detach()


class _Losses:
    """The running mean, and the first step whose loss was not finite; kept on the device, so that nothing waits."""

    def __init__(self, device: torch.device, epoch: int) -> None:
        self._epoch, self._every = epoch, _GPU_LOOK_STEPS if device.type == "cuda" else 1
        self._sum = torch.zeros((), dtype=torch.float64, device=device)
        self._first_bad = torch.zeros((), dtype=torch.int64, device=device)  # step from 1; 0: none
        self._steps = self.videos = 0

    def add(self, loss: Tensor, videos: int) -> None:
        self._steps += 1
        self.videos += videos
        self._sum += loss * videos
        is_first_bad = ~torch.isfinite(loss) & (self._first_bad == 0)
        self._first_bad.masked_fill_(is_first_bad, self._steps)
        if self._steps % self._every == 0:
            self._look()

    def mean(self) -> float:
        self._look()
        if not self.videos:
            raise TrainingError("data", "there is no video to train on", self._epoch)
        return float(self._sum) / self.videos

    def _look(self) -> None:
        step = int(self._first_bad)
        if step:
            problem = "the loss is not finite; a lower learning rate or clip_norm may help"
            raise TrainingError("nan", problem, self._epoch, step)


class _Waits:
    """Seconds spent waiting for the next item."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def over(self, items: Iterator[Batch]) -> Iterator[Batch]:
        while True:
            started = time.perf_counter()
            item = next(items, None)
            self.seconds += time.perf_counter() - started
            if item is None:
                return
            yield item
