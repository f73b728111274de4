"""The learning rate as a pure function of what has been seen: nothing to store but the history of the losses."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dmlray.config import ConstantSchedule, CosineSchedule, Schedule, StaircaseSchedule, TrialConfig
from dmlray.errors import ConfigError


@dataclass(frozen=True)
class EpochLoss:
    """``videos`` seen by the end of an epoch, all epochs before included, and its mean training ``loss``."""

    videos: int
    loss: float


@dataclass(frozen=True)
class LearningRate:
    """The rates of a whole trial; ``length`` is the number of videos after which a cosine is at its floor."""

    peak: float
    schedule: Schedule
    warmup: int
    length: int

    def at(self, videos: int, batch: int, history: Sequence[EpochLoss]) -> float:
        """The rate of the step that takes the videos seen from ``videos`` to ``videos`` + ``batch``."""
        rising = min(1.0, (videos + batch) / self.warmup) if self.warmup else 1.0
        return self.peak * rising * self._share(videos, history)

    def _share(self, videos: int, history: Sequence[EpochLoss]) -> float:
        schedule = self.schedule
        if isinstance(schedule, StaircaseSchedule):
            return schedule.decay ** _stairs(videos, schedule, history)
        if isinstance(schedule, CosineSchedule):
            done = min(1.0, max(0, videos - self.warmup) / (self.length - self.warmup))
            return schedule.floor + (1 - schedule.floor) * (1 + math.cos(math.pi * done)) / 2
        return 1.0


def plan_learning_rate(config: TrialConfig, epoch_videos: int | None) -> LearningRate:
    """The rates of a trial whose epochs hold ``epoch_videos`` videos each (None: nobody knows, as with a stream).

    Raises ConfigError when a cosine has no known end, or ends before the warm-up does.
    """
    optimizer = config.optimizer
    schedule = ConstantSchedule() if optimizer.kind == "schedule_free" else optimizer.schedule
    length = (epoch_videos or 0) * config.epochs
    if isinstance(schedule, CosineSchedule):
        length = schedule.examples or length
        if not length:
            expected = "a number of videos where they are streamed, since none is known"
            raise ConfigError("optimizer.schedule.examples", None, expected)
        if length <= optimizer.warmup_examples:
            expected = f"less than the {length} videos after which the cosine ends"
            raise ConfigError("optimizer.warmup_examples", optimizer.warmup_examples, expected)
    return LearningRate(optimizer.learning_rate, schedule, optimizer.warmup_examples, length)


def flat_since(history: Sequence[EpochLoss], below: float) -> int | None:
    """Videos seen when the loss had flattened: by the end of the first epoch whose mean loss was not at least the
    share ``below`` lower than that of the epoch before. None: it has not."""
    for before, after in pairwise(history):
        if after.loss > before.loss * (1 - below):
            return after.videos
    return None


def _stairs(videos: int, schedule: StaircaseSchedule, history: Sequence[EpochLoss]) -> int:
    """How often the rate has been multiplied; a stair begun when the loss flattens is finished at the new pace."""
    flat = None if schedule.flat_examples is None else flat_since(history, schedule.flat_below)
    if flat is None or schedule.flat_examples is None:
        return videos // schedule.decay_examples
    return flat // schedule.decay_examples + (videos - flat) // schedule.flat_examples
