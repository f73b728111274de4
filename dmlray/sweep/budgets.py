"""When a sweep has had enough: a pure function of what its trials have recorded, so that a resume goes on counting."""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev
from typing import Annotated

from pydantic import Field, PositiveFloat

from dmlray.config import Config
from dmlray.sweep.records import TrialRecord

GAIN_TRIALS = 10  # whose values say what to expect of as many more
_STEPS, _REACH = 400, 8.0  # of the integral: strips, and standard deviations beyond which nothing is left

SWEEP_S, GPU_S = "sweep_s", "gpu_s"  # metrics of each epoch: how long the sweep had run, and what the epoch cost


class Budget(Config):
    """What may end a sweep before its number of trials: hours that it has run, GPU-hours of training, little to gain.

    No new trial begins then; those under way end as they would have.
    """

    hours: PositiveFloat | None = None
    gpu_hours: PositiveFloat | None = None
    min_gain: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None


def ending(trials_wanted: int, budget: Budget, trials: Sequence[TrialRecord]) -> str | None:
    """What keeps a sweep from asking for another trial, for people to read; None while nothing does."""
    if asked(trials) >= trials_wanted:
        return f"its {trials_wanted} trials"
    if budget.hours is not None and seconds_run(trials) >= 3600 * budget.hours:
        return f"its {budget.hours:g} hours ({seconds_run(trials) / 3600:.3g} used)"
    if budget.gpu_hours is not None and gpu_seconds(trials) >= 3600 * budget.gpu_hours:
        return f"its {budget.gpu_hours:g} GPU-hours ({gpu_seconds(trials) / 3600:.3g} used)"
    gain = None if budget.min_gain is None else expected_gain(_values(trials))
    if gain is not None and gain < (budget.min_gain or 0.0):
        return f"an expected gain of {gain:.2g} GAP from {GAIN_TRIALS} more trials, below {budget.min_gain:g}"
    return None


def asked(trials: Sequence[TrialRecord]) -> int:
    """How many trials count: all but those that could never be built."""
    return sum(trial.reason != "bad_config" for trial in trials)


def seconds_run(trials: Sequence[TrialRecord]) -> float:
    """How long the sweep has run, up to the last epoch reported; time between a crash and its resume does not count."""
    return max((metrics.get(SWEEP_S, 0.0) for trial in trials for _, metrics in trial.curve), default=0.0)


def gpu_seconds(trials: Sequence[TrialRecord]) -> float:
    """The epochs' seconds, each times the GPUs that it had."""
    return sum(metrics.get(GPU_S, 0.0) for trial in trials for _, metrics in trial.curve)


def expected_gain(values: Sequence[float]) -> float | None:
    """By how much the best of ``values`` would rise in GAIN_TRIALS more trials; None for fewer values than that.

    The expected improvement (Jones, Schonlau and Welch, 1998, doi:10.1023/A:1008306431147) of several independent draws
    (Ginsbourger, Le Riche and Carraro, 2010, doi:10.1007/978-3-642-10701-6_6) from a normal distribution with mean and
    standard deviation of the newest GAIN_TRIALS values: the integral of 1 - F(y)^GAIN_TRIALS from the best value on.
    """
    if len(values) < GAIN_TRIALS:
        return None
    newest, best = values[-GAIN_TRIALS:], max(values)
    spread = stdev(newest)
    if spread == 0:
        return 0.0
    law = NormalDist(fmean(newest), spread)
    width = max(0.0, law.mean + _REACH * spread - best) / _STEPS
    return width * math.fsum(1 - law.cdf(best + (step + 0.5) * width) ** GAIN_TRIALS for step in range(_STEPS))


def _values(trials: Sequence[TrialRecord]) -> list[float]:
    """The values of finished trials by number, those stopped early too: they are what the sweep's trials come to."""
    return [trial.value for trial in sorted(trials, key=lambda trial: trial.number) if trial.value is not None]
