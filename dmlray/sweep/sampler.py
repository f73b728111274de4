"""What the next trial should be: a function of the space, the seed and the trials so far, through Optuna's samplers."""

import builtins
import copy
import math
import warnings
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from dmlray.sweep.ranges import Scalar
from dmlray.sweep.space import Space

SamplerName = Literal["tpe", "random"]

optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study on stderr


@dataclass(frozen=True)
class Proposal:
    """A suggested configuration and, by parameter name, what was chosen from which distribution."""

    config: dict[str, Any]
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]


def propose(space: Space, sampler: SamplerName, seed: int, past: Sequence[FrozenTrial]) -> Proposal:
    """Suggest a trial after ``past``, in order of their numbers; the same arguments always give the same proposal.

    The sampler is made anew each time, so nothing but the study has to survive a crash. Trials that wait or run are
    treated alike, so that the next is not asked to repeat them.
    """
    study = optuna.create_study(
        storage=_Past([_as_seen(trial) for trial in past if trial.state != TrialState.FAIL]),
        sampler=_make_sampler(sampler, seed % 2**32, space.dimensions),
        direction="maximize",
    )
    trial = study.ask()
    config = space.suggest(_OptunaSuggester(trial))
    return Proposal(config, trial.params, trial.distributions)


def startup_trials(dimensions: int) -> int:
    """How many random trials come before TPE's model: half the dimensions, at least 4, at most Optuna's default of 10.

    Optuna's 10 would leave sweeps of a dozen trials to chance.
    """
    return min(10, max(4, math.ceil(dimensions / 2)))


def _make_sampler(name: SamplerName, seed: int, dimensions: int) -> BaseSampler:
    if name == "random":
        return RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # `group`, which conditional spaces need
        return TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=startup_trials(dimensions))


def _as_seen(trial: FrozenTrial) -> FrozenTrial:
    if trial.state != TrialState.WAITING:
        return trial
    seen = copy.copy(trial)
    seen.state = TrialState.RUNNING
    return seen


class _Past(InMemoryStorage):
    """The trials so far, not copied, and after them the one that is being asked for."""

    def __init__(self, past: Sequence[FrozenTrial]) -> None:
        super().__init__()
        self._past = past

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        trial_id = super().create_new_trial(study_id, template_trial)
        self.get_trial(trial_id).number = 1 + max((trial.number for trial in self._past), default=-1)
        return trial_id

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        past = [trial for trial in self._past if states is None or trial.state in states]
        return [*(copy.deepcopy(past) if deepcopy else past), *super().get_all_trials(study_id, deepcopy, states)]


@dataclass(frozen=True)
class _OptunaSuggester:
    """Optuna's trial behind the Suggester protocol."""

    trial: optuna.Trial

    def choice(self, name: str, options: Sequence[Scalar]) -> Scalar:
        return self.trial.suggest_categorical(name, options)

    def int(
        self, name: str, low: builtins.int, high: builtins.int, step: builtins.int, log: builtins.bool
    ) -> builtins.int:
        return self.trial.suggest_int(name, low, high, step=step, log=log)

    def float(
        self, name: str, low: builtins.float, high: builtins.float, step: builtins.float | None, log: builtins.bool
    ) -> builtins.float:
        return self.trial.suggest_float(name, low, high, step=step, log=log)
