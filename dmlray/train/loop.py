"""Training, epoch by epoch. No Ray: it runs on a bare machine with PyTorch alone.

What a step draws at random depends on the seed and the epoch's number only, so that training resumed after any epoch
goes on exactly as if it had never stopped: on CPU the same losses and, bit for bit, the same parameters.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dmlray.config import TrialConfig
from dmlray.data.batch import Batch
from dmlray.errors import TrainingError
from dmlray.failpoints import reach
from dmlray.seeding import derive_seed
from dmlray.train.averaging import MovingAverage
from dmlray.train.distributed import ALONE, Peers
from dmlray.train.microbatch import MicroBatch
from dmlray.train.objective import Objective
from dmlray.train.optim import optimizer_step, set_training
from dmlray.train.part import LeavingError, Part
from dmlray.train.precision import Precision
from dmlray.train.schedule import EpochLoss, LearningRate, plan_learning_rate
from dmlray.train.teacher import Teacher
from dmlray.train.threads import generator_mark, generator_states, seeded, set_generators

_GPU_LOOK_STEPS = 50  # how often a GPU's losses are looked at: each look waits for it


class BatchSource(Protocol):
    """Where batches come from, such as `data.batch.Batches`: the same for the same ``epoch`` (from 0)."""

    def epoch(self, epoch: int) -> Generator[Batch, None, None]:
        """Each video of the epoch once."""


@dataclass
class Training:
    """A model on its way: ``epoch`` counts finished epochs, ``videos`` all videos seen, repeats included.

    ``part`` of the next epoch is done already; ``must_leave`` is asked before each step.
    """

    model: nn.Module
    optimizer: Optimizer
    config: TrialConfig
    seed: int
    device: torch.device
    epoch: int = 0
    videos: int = 0
    epoch_videos: int | None = None  # None: as many as come
    teacher: Teacher | None = None  # where the configuration has a distillation
    history: list[EpochLoss] = field(default_factory=list)
    peers: Peers = ALONE
    part: Part | None = None
    must_leave: Callable[[], bool] = lambda: False
    micro_batch: MicroBatch = field(init=False)
    precision: Precision = field(init=False)
    rates: LearningRate = field(init=False)
    average: MovingAverage | None = field(init=False)
    objective: Objective = field(init=False)

    def __post_init__(self) -> None:
        self.rates = plan_learning_rate(self.config, self.epoch_videos)
        self.objective = Objective(self.config, self.teacher)
        decay = getattr(self.config.optimizer, "ema_decay", None)
        self.average = None if decay is None else MovingAverage(self.model, decay)
        self.micro_batch = MicroBatch(self.config.micro_batch)
        self.precision = Precision.named(self.config.precision, self.device, self.model)

    @property
    def predicting(self) -> nn.Module:
        """The model that is evaluated: the one in training, or its average."""
        return self.model if self.average is None else self.average.model


@dataclass(frozen=True)
class EpochStats:
    """One epoch of training: ``loss`` is the mean over its videos; ``wait_s``, of ``epoch_s``, had no batch."""

    epoch: int  # from 1
    videos: int  # those of this process, of an epoch that another began
    loss: float
    epoch_s: float
    wait_s: float
    micro_batch: int | None = None  # videos at once, where it is not the whole batch

    def metrics(self) -> dict[str, float]:
        """As they stand in a report."""
        found = {
            "train_loss": self.loss,
            "videos_per_s": self.videos / self.epoch_s,
            "epoch_s": self.epoch_s,
            "wait_share": self.wait_s / self.epoch_s,
        }
        return found if self.micro_batch is None else found | {"micro_batch": self.micro_batch}


def train_epochs(training: Training, batches: BatchSource) -> Iterator[EpochStats]:
    """Train the epochs that ``training`` still lacks, pausing after each; stop asking to stop training.

    When memory runs out, batches go through the model in smaller parts from then on. Raises TrainingError: reason
    ``nan`` when a loss is not finite, ``out_of_memory`` when not even one video's part fits; LeavingError before the
    step of all workers at which one of them must leave.
    """
    while training.epoch < training.config.epochs:
        yield _train_epoch(training, batches)


@contextmanager
def device_memory_watched(config: TrialConfig, epoch: int) -> Iterator[None]:
    """Turn an out-of-memory error into a TrainingError that names what needs it; ``epoch`` counts from 1."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        problem = f"not even one video at a time fits in memory, with {_sizes(config)}"
        raise TrainingError("out_of_memory", f"{problem} ({str(error).splitlines()[0]})", epoch) from error


def _sizes(config: TrialConfig) -> str:
    """The parameters that decide how much memory a video needs, by their names."""
    parts = config.model_dump(mode="json", include={"frames", "encoder", "pooling", "fusion", "head"})
    return ", ".join(f"{part}.{name}={value}" for part, fields in parts.items() for name, value in fields.items())


def _train_epoch(training: Training, batches: BatchSource) -> EpochStats:
    started, number = time.perf_counter(), training.epoch + 1
    losses, waits, part = _Losses(training.device, number), _Waits(), training.part
    training.part = None
    training.model.train()
    set_training(training.optimizer, True)
    others = () if training.peers.is_first else (training.peers.rank,)  # each worker draws for its own videos
    with (
        seeded(derive_seed(training.seed, "epoch", training.epoch, *others), training.device),
        device_memory_watched(training.config, number),
        closing(batches.epoch(training.epoch)) as epoch,
    ):
        batches_left = waits.over(epoch)
        if part is not None:
            _go_on_after(part, training, losses, batches_left)
        for step, batch in enumerate(batches_left, start=losses.steps + 1):
            videos, leaving = training.peers.totals(len(batch), training.must_leave())
            if leaving:
                raise LeavingError(losses.part(generator_states(training.device)))
            reach("step", epoch=number, step=step)
            losses.add(_train_step(training, batch, videos), videos)
            training.videos += videos
        mean = losses.mean()
    set_training(training.optimizer, False)
    training.epoch = number
    training.history.append(EpochLoss(training.videos, mean))
    micro_batch = training.micro_batch.size
    videos = losses.videos - (part.videos if part else 0)
    return EpochStats(number, videos, mean, time.perf_counter() - started, waits.seconds, micro_batch)


def _go_on_after(part: Part, training: Training, losses: "_Losses", batches: Iterator[Batch]) -> None:
    """Pass over the batches of ``part``, and be where it left off."""
    for _ in range(part.steps):
        next(batches)
    losses.restore(part)
    set_generators(part.generators[training.peers.rank], training.device)


def _train_step(training: Training, batch: Batch, videos: int) -> Tensor:
    """One step on ``batch``, this worker's share of ``videos``. The loss is the mean over all of them."""
    precision, rewind = training.precision, generator_mark(training.device)

    def begin() -> None:
        rewind()
        training.optimizer.zero_grad(set_to_none=True)

    def add_gradients(part: Batch) -> Tensor:
        part = part.to(training.device)
        mixing = training.objective.draw_mixing(len(part), training.device)
        with precision.autocast():
            output = training.model(part.features, part.mask, mixing)
        loss = training.objective.loss(output, part, mixing) * (len(part) / len(batch))
        precision.backward(loss)
        return loss.detach()

    losses = training.micro_batch.run(batch, add_gradients, begin) if len(batch) else []
    own = torch.stack(losses).sum() if losses else torch.zeros((), device=training.device)
    loss = training.peers.average(training.model.parameters(), own, len(batch) / videos)
    rate = training.rates.at(training.videos, videos, training.history)
    optimizer_step(training.optimizer, precision.scaler, rate, training.config.optimizer.clip_norm)
    if training.average is not None:
        training.average.update(training.model)
    return loss


class _Losses:
    """The running mean, and the first step whose loss was not finite; kept on the device, so that nothing waits."""

    def __init__(self, device: torch.device, epoch: int) -> None:
        self._epoch, self._every = epoch, _GPU_LOOK_STEPS if device.type == "cuda" else 1
        self._sum = torch.zeros((), dtype=torch.float64, device=device)
        self._first_bad = torch.zeros((), dtype=torch.int64, device=device)  # step from 1; 0: none
        self.steps = self.videos = 0

    def part(self, generators: dict[str, Tensor]) -> Part | None:
        """What was added so far; None for nothing."""
        self._look()
        return Part(self.steps, self.videos, float(self._sum), (generators,)) if self.steps else None

    def restore(self, part: Part) -> None:
        self.steps, self.videos = part.steps, part.videos
        self._sum.fill_(part.loss)

    def add(self, loss: Tensor, videos: int) -> None:
        self.steps += 1
        self.videos += videos
        self._sum += loss * videos
        is_first_bad = ~torch.isfinite(loss) & (self._first_bad == 0)
        self._first_bad.masked_fill_(is_first_bad, self.steps)
        if self.steps % self._every == 0:
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
