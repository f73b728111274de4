"""What the next trial should be: a function of the space, the seed and the trials so far, through Optuna's samplers."""

import builtins
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from dmlray.sweep.configurations import NamedConfiguration
from dmlray.sweep.grid import grid_points, grid_size
from dmlray.sweep.names import SamplerName
from dmlray.sweep.ranges import FloatRange, Scalar
from dmlray.sweep.samplers import SAMPLERS, Asked, Planned
from dmlray.sweep.seen import Seen
from dmlray.sweep.space import Space
from dmlray.sweep.tree import leaves

OWN_TRIES, RANDOM_TRIES = 6, 44  # at a configuration that was not tried before
MAX_GRID = 20_000  # points that are walked, where those tries found nothing new

optuna.logging.set_verbosity(optuna.logging.ERROR)  # it announces every study, and warns of choices made here


@dataclass(frozen=True)
class Proposal:
    """A suggested configuration and, by parameter name, what was chosen from which distribution.

    ``name`` is that of the space's named configuration, if it is one.
    """

    config: dict[str, Any]
    params: dict[str, Any]
    distributions: dict[str, BaseDistribution]
    name: str | None = None


def propose(
    space: Space, sampler: SamplerName, seed: int, number: int, past: Sequence[FrozenTrial], attempt: int = 0
) -> Proposal:
    """Suggest trial ``number`` after ``past``; the same arguments always give the same proposal.

    The sampler is made anew each time, so nothing but the study has to survive a crash. ``seed`` is the sweep's;
    another ``attempt`` is another draw. Raises ConfigError or UnavailableError for a sampler that cannot be had.
    """
    return _ask(space, SAMPLERS[sampler](Asked(space, seed, number, past, attempt)), number, past)


def suggestions(
    space: Space, sampler: SamplerName, seed: int, number: int, past: Sequence[FrozenTrial]
) -> Iterator[Proposal]:
    """What trial ``number`` may be, the best first, until one was not tried before.

    The first trials are the space's named configurations. After them some tries of the sampler itself, then some at
    random, then every point of a small enough grid; of the sampler ``grid`` the points whose parameters no trial has
    had. Where this ends, the space holds nothing new.
    """
    if number < len(space.configurations):
        yield configured(space, space.configurations[number])
    size = grid_size(space)
    if sampler != "grid":
        for attempt in range(OWN_TRIES):
            yield propose(space, sampler, seed, number, past, attempt)
        for attempt in range(OWN_TRIES, OWN_TRIES + RANDOM_TRIES):
            yield propose(space, "random", seed, number, past, attempt)
        if size is None or size > MAX_GRID:
            return
    had = {_key(trial.params) for trial in past}
    for point in grid_points(space):
        if _key(point) not in had:
            yield planned(space, point)


def planned(space: Space, point: Mapping[str, Scalar]) -> Proposal:
    """The proposal whose parameters are ``point``."""
    return _ask(space, Planned(point), 0, ())


def configured(space: Space, configuration: NamedConfiguration) -> Proposal:
    """The proposal of a named configuration, with parameters where it is a point of the space."""
    point = planned(space, configuration.params) if configuration.params else Proposal({}, {}, {})
    return replace(point, config=configuration.config, name=configuration.name)


def _ask(space: Space, sampler: BaseSampler, number: int, past: Sequence[FrozenTrial]) -> Proposal:
    study = optuna.create_study(storage=Seen(past, number), sampler=sampler, direction="maximize")
    trial = study.ask()
    config = space.suggest(_OptunaSuggester(trial))
    floats = {leaf.name: leaf for leaf in leaves(space.root) if isinstance(leaf, FloatRange)}
    params = {name: floats[name].exact(value) if name in floats else value for name, value in trial.params.items()}
    return Proposal(config, params, trial.distributions)


def _key(params: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    return frozenset((name, repr(value)) for name, value in params.items())


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
