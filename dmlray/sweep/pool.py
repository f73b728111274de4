"""Recorded trials as a stand-in for training: what a suggestion would have done is read off the most similar one."""

import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from dmlray.sweep.cube import coordinate
from dmlray.sweep.ranges import Choice, Range
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.space import Space
from dmlray.sweep.tree import leaves


@dataclass(frozen=True)
class Curve:
    """A recorded trial: its (epoch, val_gap) and seconds by epoch; ``is_whole`` unless it was stopped early."""

    number: int
    params: Mapping[str, Any]
    history: tuple[tuple[int, float], ...]
    seconds: tuple[float, ...]
    is_whole: bool


class Pool:
    """The recorded trials of one sweep: those with a curve, whose configurations are points of its space."""

    def __init__(self, space: Space, trials: Iterable[TrialRecord]) -> None:
        self._leaves = {leaf.name: leaf for leaf in leaves(space.root)}
        self.curves = [_curve(trial) for trial in trials if trial.history and trial.params]
        self._places = {curve.number: self._place(curve.params) for curve in self.curves}

    def nearest(self, params: Mapping[str, Any], used: Container[int]) -> tuple[Curve, float]:
        """The most similar trial that is not ``used``, ties to the lowest number, and how far it is.

        Raises ValueError where all are used.
        """
        place = self._place(params)
        left = [curve for curve in self.curves if curve.number not in used]
        if not left:
            raise ValueError("every recorded trial is used")
        return min(
            ((curve, distance(place, self._places[curve.number])) for curve in left),
            key=lambda found: (found[1], found[0].number),
        )

    @property
    def spread(self) -> float:
        """The mean distance between two trials of the pool."""
        pairs = combinations(self._places.values(), 2)
        return fmean(distance(one, other) for one, other in pairs) if len(self.curves) > 1 else 0.0

    def _place(self, params: Mapping[str, Any]) -> dict[str, Any]:
        return {name: _mark(self._leaves[name], value) for name, value in params.items()}


def distance(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """How unlike two places are (after Gower, 1971, doi:10.2307/2528823): 1 for each choice that differs, for each
    range the difference of the coordinates in [0, 1]; what only one of them has counts with the choice that opened it.
    """
    return math.fsum(
        (value != other[name]) if isinstance(value, str) else abs(value - other[name])
        for name, value in one.items()
        if name in other
    )


def _mark(leaf: Range, value: Any) -> str | float:
    return repr(value) if isinstance(leaf, Choice) else coordinate(leaf, value)


def _curve(trial: TrialRecord) -> Curve:
    seconds = tuple(metrics.get("epoch_s", 0.0) for _, metrics in trial.curve)
    return Curve(trial.number, trial.params, trial.history, seconds, trial.state is TrialState.complete)
