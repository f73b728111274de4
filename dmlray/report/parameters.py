"""The searched parameters, and what the trials say about each: pure functions."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmlray.sweep.ranges import Choice, Fixed
from dmlray.sweep.records import TrialRecord
from dmlray.sweep.tree import Node, leaves

MIN_TREND = 8  # trials below which no trend is spoken of


@dataclass(frozen=True)
class Parameter:
    """A searched parameter: one of ``options``, or a number (no options) whose axis is logarithmic where ``log``."""

    name: str
    options: tuple[str, ...] = ()
    log: bool = False


@dataclass(frozen=True)
class Point:
    """A trial's choice, as text and (for a number) as a float, with the GAP it reached."""

    trial: int
    text: str
    x: float
    gap: float
    is_complete: bool


def searched_parameters(space: Node | None, trials: Sequence[TrialRecord]) -> tuple[Parameter, ...]:
    """The parameters of a ``space`` in its order; without one, as the trials' own values tell."""
    if space is None:
        return _guessed(trials)
    found = []
    for leaf in leaves(space):
        if isinstance(leaf, Choice):
            found.append(Parameter(leaf.name, tuple(label(option) for option in leaf.labels)))
        elif not isinstance(leaf, Fixed):
            found.append(Parameter(leaf.name, log=leaf.log))
    return tuple(found)


def label(value: object) -> str:
    """A choice for people: text as it is, all else as YAML writes it."""
    return value if isinstance(value, str) else json.dumps(value)


def points(parameter: Parameter, trials: Sequence[TrialRecord]) -> list[Point]:
    """The trials that have this parameter and a GAP."""
    return [
        Point(
            trial=trial.number,
            text=label(trial.params[parameter.name]),
            x=_number(trial.params[parameter.name]) if not parameter.options else math.nan,
            gap=trial.best_so_far,
            is_complete=trial.state.name == "complete",
        )
        for trial in trials
        if parameter.name in trial.params and trial.best_so_far is not None
    ]


def slice_sentence(parameter: Parameter, found: Sequence[Point]) -> str:
    """What the complete trials say about a parameter, and how sure that is."""
    compared = [point for point in found if point.is_complete]
    if not compared:
        return "No complete trial has this parameter yet."
    return _choice_sentence(compared) if parameter.options else _number_sentence(compared)


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rho, ties sharing their mean rank; NaN where one side does not vary."""
    ranks = _ranks(x), _ranks(y)
    if any(np.ptp(rank) == 0 for rank in ranks):
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])


def _choice_sentence(compared: Sequence[Point]) -> str:
    counts = Counter(point.text for point in compared)
    quartiles = spread(compared)
    ranked = sorted(counts, key=lambda option: (-quartiles[option][1], option))
    medians = [f"{quartiles[option][1]:.4f} over {_trials(counts[option])}" for option in ranked]
    if len(ranked) == 1:
        return f"Only {ranked[0]} was tried: median {medians[0]}."
    best, second = ranked[:2]
    text = f"{best} has the best median, {medians[0]}; {second} follows with {medians[1]}"
    if min(counts[best], counts[second]) < 3:
        return f"{text}, too few to tell them apart."
    is_close = quartiles[second][1] >= quartiles[best][0]
    return f"{text}, {'inside' if is_close else 'below'} the quartiles of {best}."


def _number_sentence(compared: Sequence[Point]) -> str:
    ranked = sorted(compared, key=lambda point: (-point.gap, point.trial))
    best = f"the best, {ranked[0].gap:.4f}, at {ranked[0].x:.4g} (trial {ranked[0].trial})"
    if len(compared) < MIN_TREND:
        return f"{len(compared)} complete trials are too few for a trend; {best}."
    top = [point.x for point in ranked[: math.ceil(len(ranked) / 4)]]
    where = f"the best quarter stands at {min(top):.4g} to {max(top):.4g}, {best}"
    rho = rank_correlation([point.x for point in compared], [point.gap for point in compared])
    if math.isnan(rho) or abs(rho) < 1.96 / math.sqrt(len(compared) - 1):  # the 5 % level without a relation
        return f"GAP neither clearly rises nor falls with it over {_trials(len(compared))}; {where}."
    return f"GAP tends to {'rise' if rho > 0 else 'fall'} with it (rank correlation {rho:+.2f}); {where}."


def _guessed(trials: Sequence[TrialRecord]) -> tuple[Parameter, ...]:
    values: dict[str, list[object]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, []).append(value)
    return tuple(_guess(name, found) for name, found in values.items())


def _guess(name: str, found: Sequence[object]) -> Parameter:
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in found):
        return Parameter(name)
    return Parameter(name, tuple(sorted({label(value) for value in found})))


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    _, places, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    means: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return means


def _trials(count: int) -> str:
    return f"{count} trial{'s' if count != 1 else ''}"


def spread(found: Sequence[Point]) -> Mapping[str, tuple[float, float, float]]:
    """Lower quartile, median and upper quartile of the complete trials' GAP by option."""
    gaps: dict[str, list[float]] = {}
    for point in found:
        if point.is_complete:
            gaps.setdefault(point.text, []).append(point.gap)
    quartiles = {option: np.quantile(values, [0.25, 0.5, 0.75]) for option, values in gaps.items()}
    return {option: (float(low), float(middle), float(high)) for option, (low, middle, high) in quartiles.items()}
