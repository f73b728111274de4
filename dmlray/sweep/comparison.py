"""Strategies side by side: what replayed sweeps spent until they reached a GAP. Pure figures over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from dmlray.sweep.replay import Replayed, Strategy


@dataclass(frozen=True)
class Spread:
    """Median, least and most over seeds."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Reach:
    """What it took to reach a GAP, as medians over all seeds; None where most of them never did.

    ``gap`` None stands for the best that random search without stopping came to with the same seed. ``share`` is the
    epochs over those after which random search was there, ``share_of_all`` over all that random search spent.
    """

    gap: float | None
    reached: int  # of the seeds
    epochs: float | None
    hours: float | None
    share: float | None
    share_of_all: float | None


@dataclass(frozen=True)
class Comparison:
    """One strategy over all seeds. ``best_within`` has (epochs, median of the best val_gap so far)."""

    strategy: str
    epochs: Spread
    hours: Spread
    best: Spread
    reaches: tuple[Reach, ...]
    best_within: tuple[tuple[int, float], ...]
    distance: float  # of suggestions from the recorded trials that stood in for them


def compare(runs: Sequence[tuple[Strategy, Sequence[Replayed]]], gaps: Sequence[float]) -> list[Comparison]:
    """Figures of each strategy's runs, one run a seed; the first strategy is random search without stopping."""
    baseline = runs[0][1]
    whole = max(run.points[-1][0] for run in baseline)
    marks = [math.ceil(whole * part / 4) for part in (1, 2, 3, 4)]
    return [
        Comparison(
            strategy=strategy.name,
            epochs=_spread([run.points[-1][0] for run in replayed]),
            hours=_spread([run.points[-1][1] / 3600 for run in replayed]),
            best=_spread([run.best for run in replayed]),
            reaches=tuple(_reach(replayed, baseline, gap) for gap in (None, *gaps)),
            best_within=tuple((mark, median(run.best_within(mark) for run in replayed)) for mark in marks),
            distance=sum(run.distance for run in replayed) / len(replayed),
        )
        for strategy, replayed in runs
    ]


def _reach(runs: Sequence[Replayed], baseline: Sequence[Replayed], gap: float | None) -> Reach:
    targets = [plain.best if gap is None else gap for plain in baseline]
    found = [run.reach(target) for run, target in zip(runs, targets, strict=True)]
    plain = [run.reach(target) for run, target in zip(baseline, targets, strict=True)]
    epochs, seconds = (_median_of(found, part) for part in (0, 1))
    plain_epochs, whole = _median_of(plain, 0), median(run.points[-1][0] for run in baseline)
    return Reach(
        gap=gap,
        reached=sum(each is not None for each in found),
        epochs=epochs,
        hours=None if seconds is None else seconds / 3600,
        share=None if epochs is None or plain_epochs is None else epochs / plain_epochs,
        share_of_all=None if epochs is None else epochs / whole,
    )


def _median_of(found: Sequence[tuple[int, float] | None], part: int) -> float | None:
    middle = median(math.inf if each is None else each[part] for each in found)
    return middle if middle < math.inf else None


def _spread(values: Sequence[float]) -> Spread:
    return Spread(median(values), min(values), max(values))
