"""Which trial stops early: a pure function of what all trials have reported."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from dmlray.config import Config
from dmlray.sweep.rungs import rung_levels

History = Sequence[tuple[int, float]]  # (finished epochs, val_gap) of one trial


class StoppingConfig(Config):
    """``asha`` decides at ``min_epochs`` and every ``eta`` times later, and lets the best 1/``eta`` go on."""

    rule: Literal["none", "asha"] = "none"
    min_epochs: PositiveInt = 1
    eta: Annotated[int, Field(ge=2)] = 3


def should_stop(config: StoppingConfig, histories: Mapping[int, History], number: int) -> bool:
    """Whether trial ``number`` stops after the last epoch of its history.

    Asynchronous successive halving (Li et al., 2020, arXiv:1810.05934), as a stopping rule: of the n trials that have
    reached this rung, the floor(n / eta) with the best value so far survive, ties to the lowest number. Fewer than eta
    trials decide nothing. NaN and infinity never count; a trial that has nothing else ranks last. Histories are read
    only up to the rung, so what others report later cannot change a decision.
    """
    epoch = max((epoch for epoch, _ in histories.get(number, ())), default=0)
    if config.rule == "none" or epoch not in rung_levels(config.min_epochs, epoch, config.eta):
        return False
    values = {other: _best_until(epoch, history) for other, history in histories.items()}
    ranked = sorted(
        (other for other, value in values.items() if value > -math.inf or other == number),
        key=lambda other: (-values[other], other),
    )
    survivors = len(ranked) // config.eta
    return survivors > 0 and number not in ranked[:survivors]


def _best_until(rung: int, history: History) -> float:
    """The best finite value at or before ``rung``; minus infinity if the trial has none or did not come this far."""
    if max((epoch for epoch, _ in history), default=0) < rung:
        return -math.inf
    return max((value for epoch, value in history if epoch <= rung and math.isfinite(value)), default=-math.inf)
