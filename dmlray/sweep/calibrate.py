"""A minute of real training: what a video costs at points of a space, on these data and this machine. No Ray."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import fmean

import torch

from dmlray.config import TrialConfig
from dmlray.data.batch import Batch, Batches
from dmlray.data.dataset import Dataset, open_splits
from dmlray.data.prefetch import Prefetched
from dmlray.errors import ConfigError, MissingInputError, TrainingError
from dmlray.model.build import build_model
from dmlray.remote import Place
from dmlray.sweep.plan import Recorded
from dmlray.sweep.runs import describe
from dmlray.train.evaluate import evaluate
from dmlray.train.loop import BatchSource, Training, train_epochs
from dmlray.train.optim import build_optimizer
from dmlray.train.teacher import Teacher
from dmlray.train.threads import cpu_threads, seeded

BUDGET_S = 60.0
_TRAINING = 0.8  # of a point's time; the rest goes to evaluation

Clock = Callable[[], float]


@dataclass(frozen=True)
class Timing:
    """One point of a space, in words: seconds a video takes to train on and to evaluate, and the point's epochs."""

    model: str
    train_s: float
    evaluate_s: float
    epochs: int

    def trial_s(self, train: int, validation: int, test: int, workers: int = 1) -> float:
        """A whole trial over so many videos of each split, by ``workers`` that are each as fast as the one timed."""
        each_epoch = self.train_s * train + self.evaluate_s * validation
        return (self.epochs * each_epoch + self.evaluate_s * test) / workers


@dataclass(frozen=True)
class Calibration:
    """Points that were timed, and sentences about those that cannot be trained here; ``points`` there were in all."""

    timings: tuple[Timing, ...]
    refusals: tuple[str, ...]
    points: int

    def recorded(self, train: int, validation: int, test: int, workers: int = 1) -> Recorded:
        """What trials take that are like those timed and are never stopped early."""
        spent = [timing.trial_s(train, validation, test, workers) for timing in self.timings]
        return Recorded(len(spent), fmean(spent), max(spent))

    def examples(self) -> dict[str, Timing]:
        """The cheapest, the middle and the dearest point, by the seconds of an epoch's video."""
        ordered = sorted(self.timings, key=lambda timing: (timing.train_s * timing.epochs, timing.model))
        return {"cheapest": ordered[0], "middle": ordered[len(ordered) // 2], "dearest": ordered[-1]}


def calibrate(
    configs: Sequence[TrialConfig],
    data: Place,
    threads: int,
    device: torch.device,
    budget_s: float,
    clock: Clock = time.perf_counter,
) -> Calibration:
    """Train some batches of each of ``configs``, in their order, until ``budget_s`` is over; one at least.

    Raises as `data.dataset.open_splits` does, ConfigError where not one can be trained here.
    """
    splits, began = open_splits(data), clock()
    timings: list[Timing] = []
    refusals: list[str] = []
    with cpu_threads(threads):
        for config in configs:
            if timings and clock() - began > budget_s:
                break
            try:
                timings.append(
                    _time(config, splits["train"], splits["validation"], device, budget_s / len(configs), clock)
                )
            except (TrainingError, ConfigError, MissingInputError, FloatingPointError) as error:
                refusals.append(f"{describe(config.model_dump())}: {error}")
    if not timings:
        raise ConfigError("space", f"{len(refusals)} points that fail", f"one that can be trained here ({refusals[0]})")
    return Calibration(tuple(timings), tuple(refusals), len(configs))


def calibrate_on(configs: Sequence[TrialConfig], data: Place, threads: int, device: str) -> Calibration:
    """`calibrate` on the device of that name. Raises ConfigError for a GPU that is not there."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--gpus-per-trial", "a GPU", "0 where PyTorch can use none: `dmlray doctor` says why")
    return calibrate(configs, data, threads, torch.device(device), BUDGET_S)


def _time(
    config: TrialConfig, train: Dataset, validation: Dataset, device: torch.device, share_s: float, clock: Clock
) -> Timing:
    schema, distillation = train.schema, config.loss.distillation
    with seeded(0, device):
        model = build_model(config, schema).to(device)
    teacher = None if distillation is None else Teacher(distillation, schema.classes)
    optimizer = build_optimizer(model, config.optimizer)
    training = Training(model, optimizer, config, 0, device, epoch_videos=len(train), teacher=teacher)
    timed = _Timed(_batches(config, train, device, shuffle=True), share_s * _TRAINING, device, clock)
    next(train_epochs(training, timed))
    tested = _Timed(_batches(config, validation, device, shuffle=False), share_s * (1 - _TRAINING), device, clock)
    evaluate(training.predicting, tested, schema.classes, device, micro_batch=training.micro_batch)
    return Timing(describe(config.model_dump()), timed.video_s, tested.video_s, config.epochs)


def _batches(config: TrialConfig, dataset: Dataset, device: torch.device, *, shuffle: bool) -> BatchSource:
    """As a trial has them."""
    on_gpu = device.type == "cuda"
    batches = Batches(
        dataset,
        config.batch_size,
        frames=config.frames,
        modalities=config.modalities,
        seed=0,
        bucketing=config.bucketing,
        pinned=on_gpu,
        shuffle=shuffle,
    )
    return Prefetched(batches) if on_gpu else batches


class _Timed:
    """Batches until ``share_s`` is over, and the time from one to the next; the first, which warms up, does not count
    where there is another.
    """

    def __init__(self, batches: BatchSource, share_s: float, device: torch.device, clock: Clock) -> None:
        self._batches, self._share_s, self._device, self._clock = batches, share_s, device, clock
        self._steps: list[tuple[int, float]] = []  # videos, seconds

    def epoch(self, epoch: int) -> Generator[Batch, None, None]:
        began = last = self._now()
        with closing(self._batches.epoch(epoch)) as found:
            for batch in found:
                yield batch
                now = self._now()
                self._steps.append((len(batch), now - last))
                last = now
                if now - began > self._share_s and len(self._steps) > 1:
                    return

    @property
    def video_s(self) -> float:
        """Seconds a video."""
        counted = self._steps[1:] or self._steps
        return sum(seconds for _, seconds in counted) / sum(videos for videos, _ in counted)

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return self._clock()
