"""Which trial stops early: a pure function of what all trials have reported."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Annotated

from pydantic import Field, PositiveInt

from dmlray.config import Config
from dmlray.sweep.names import StoppingName
from dmlray.sweep.rungs import bracket_of, bracket_sizes, rung_levels

MEDIAN_TRIALS = 4  # others that must have come as far before a median says anything

History = Sequence[tuple[int, float]]  # (finished epochs, val_gap) of one trial
Histories = Mapping[int, History]


class StoppingConfig(Config):
    """When a trial stops early.

    ``asha`` decides at ``min_epochs`` and every ``eta`` times later, and lets the best 1/``eta`` go on; ``hyperband``
    does so in brackets that begin to decide at ``min_epochs`` times 1, ``eta``, ``eta`` squared ...; ``median`` decides
    after each epoch from ``min_epochs`` on.
    """

    rule: StoppingName = "none"
    min_epochs: PositiveInt = 1
    eta: Annotated[int, Field(ge=2)] = 3


def should_stop(config: StoppingConfig, histories: Histories, number: int, max_epochs: int) -> bool:
    """Whether trial ``number`` stops after the last epoch of its history; ``max_epochs`` is the longest a trial trains.

    Every rule reads histories only up to that epoch, so what others report later cannot change a decision. NaN and
    infinity never count; a trial that has nothing else ranks last.
    """
    if config.rule == "none" or not histories.get(number):
        return False
    if config.rule == "median":
        return _below_median(config.min_epochs, histories, number)
    if config.rule == "asha":
        return _halved(config.min_epochs, config.eta, histories, number)
    sizes = bracket_sizes(config.min_epochs, max_epochs, config.eta)
    bracket = bracket_of(number, sizes)
    peers = {other: history for other, history in histories.items() if bracket_of(other, sizes) == bracket}
    return _halved(config.min_epochs * config.eta**bracket, config.eta, peers, number)


def _halved(min_epochs: int, eta: int, histories: Histories, number: int) -> bool:
    """Asynchronous successive halving (Li et al., 2020, arXiv:1810.05934) as a stopping rule.

    Of the n trials that have reached this rung, the floor(n / eta) with the best value so far survive, ties to the
    lowest number; fewer than eta trials decide nothing.
    """
    epoch = _length(histories[number])
    if epoch not in rung_levels(min_epochs, epoch, eta):
        return False
    values = {other: _best_until(epoch, history) for other, history in histories.items()}
    ranked = sorted(
        (other for other, value in values.items() if value > -math.inf or other == number),
        key=lambda other: (-values[other], other),
    )
    survivors = len(ranked) // eta
    return survivors > 0 and number not in ranked[:survivors]


def _below_median(min_epochs: int, histories: Histories, number: int) -> bool:
    """The median stopping rule (Golovin et al., 2017, Google Vizier, section 3.2.1).

    A trial stops whose best value so far lies below the median, over the other trials that have come this far, of
    their mean values up to this epoch.
    """
    epoch = _length(histories[number])
    if epoch < min_epochs:
        return False
    others = [_finite_until(epoch, history) for other, history in histories.items() if other != number]
    means = [fmean(values) for values in others if values]
    return len(means) >= MEDIAN_TRIALS and _best_until(epoch, histories[number]) < median(means)


def _length(history: History) -> int:
    return max((epoch for epoch, _ in history), default=0)


def _finite_until(epoch: int, history: History) -> list[float]:
    """The finite values up to ``epoch``; none if the trial did not come this far."""
    if _length(history) < epoch:
        return []
    return [value for at, value in history if at <= epoch and math.isfinite(value)]


def _best_until(epoch: int, history: History) -> float:
    return max(_finite_until(epoch, history), default=-math.inf)
