"""The samplers by name, each made for one question: which trial comes next."""

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.search_space.group_decomposed import _GroupDecomposedSearchSpace, _SearchSpaceGroup
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from dmlray.errors import ConfigError, UnavailableError
from dmlray.seeding import derive_seed
from dmlray.sweep.cube import coordinate, count, value_at
from dmlray.sweep.grid import check_grid, grid_points
from dmlray.sweep.names import SamplerName
from dmlray.sweep.ranges import FloatRange, IntRange, Range, Scalar
from dmlray.sweep.sequences import cmaes_point, sobol_point
from dmlray.sweep.space import Space
from dmlray.sweep.tree import leaves


@dataclass(frozen=True)
class Asked:
    """The question: trial ``number`` of the sweep with ``seed``, after ``past``, in draw ``attempt``."""

    space: Space
    seed: int
    number: int
    past: Sequence[FrozenTrial]
    attempt: int = 0

    @property
    def draw(self) -> int:
        """A 32-bit seed of this draw alone."""
        again = (self.attempt,) if self.attempt else ()
        return derive_seed(self.seed, "sampler", self.number, *again) % 2**32


class Planned(BaseSampler):
    """Gives the parameters of ``point``; what is not in it is up to ``rest``."""

    def __init__(self, point: Mapping[str, Scalar], rest: BaseSampler | None = None) -> None:
        self._point, self._rest = point, rest

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> Any:
        return {}

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, distribution: Any) -> Any:
        if param_name in self._point or self._rest is None:
            return self._point[param_name]
        return self._rest.sample_independent(study, trial, param_name, distribution)


class _Groups(_GroupDecomposedSearchSpace):
    """Optuna's groups of parameters that occur together. It splits them anew by every trial, though each set of
    parameters splits them once: a quarter of the time in a study of 5,000 trials.
    """

    def calculate(self, study: Study, use_cache: bool = False) -> _SearchSpaceGroup:
        sets: dict[frozenset[str], Mapping[str, BaseDistribution]] = {}
        for trial in study._get_trials(deepcopy=False, states=(TrialState.COMPLETE,), use_cache=use_cache):
            sets.setdefault(frozenset(trial.distributions), trial.distributions)
        for distributions in sets.values():
            self._search_space.add_distributions(dict(distributions))
        return copy.deepcopy(self._search_space)


def check_sampler(sampler: SamplerName, space: Space) -> None:
    """Raise ConfigError where ``sampler`` cannot search ``space``, or is not installed."""
    if sampler == "grid":
        check_grid(space)
    elif sampler == "cmaes" and len(_evolving(space)) < 2:
        names = ", ".join(leaf.name for leaf in _evolving(space)) or "none"
        raise ConfigError("--sampler cmaes", names, "for a space with at least two ranges outside of choices")
    elif sampler == "auto":
        _auto_sampler(0)


def startup_trials(dimensions: int) -> int:
    """How many random trials come before a model: half the dimensions, at least 4, at most Optuna's default of 10.

    Optuna's 10 would leave sweeps of a dozen trials to chance.
    """
    return min(10, max(4, math.ceil(dimensions / 2)))


def _tpe(asked: Asked) -> BaseSampler:
    """Tree-structured Parzen estimators (Bergstra et al., 2011; multivariate: Falkner et al., 2018)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # `group`, which conditional spaces need
        sampler = TPESampler(
            seed=asked.draw,
            multivariate=True,
            group=True,
            n_startup_trials=startup_trials(asked.space.dimensions),
        )
    sampler._group_decomposed_search_space = _Groups()
    return sampler


def _random(asked: Asked) -> BaseSampler:
    return RandomSampler(seed=asked.draw)


def _grid(asked: Asked) -> BaseSampler:
    """The grid's points in turn; after the last one from the beginning."""
    points = list(grid_points(asked.space))
    return Planned(points[(asked.number + asked.attempt) % len(points)])


def _gp(asked: Asked) -> BaseSampler:
    """A Gaussian process with log expected improvement (Ament et al., 2023, arXiv:2310.20708).

    It models the parameters that all complete trials have; TPE suggests those within choices, one by one. Pruned
    trials teach it nothing.
    """
    startup = startup_trials(asked.space.dimensions)
    return GPSampler(seed=asked.draw, independent_sampler=_tpe(asked), n_startup_trials=startup)


def _cmaes(asked: Asked) -> BaseSampler:
    """CMA-ES over the ranges outside of choices, from complete and pruned trials; TPE suggests the rest one by one."""
    space = _evolving(asked.space)
    told = [
        ([coordinate(leaf, trial.params[leaf.name]) for leaf in space], float(trial.value))
        for trial in sorted(asked.past, key=lambda trial: trial.number)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        and trial.value is not None
        and all(leaf.name in trial.params for leaf in space)
    ]
    return Planned(_named(space, cmaes_point(len(space), told, asked.draw)), rest=_tpe(asked))


def _quasirandom(asked: Asked) -> BaseSampler:
    """The sweep's own scrambled Sobol' sequence over all parameters, those within choices too; trial n is point n."""
    space = [leaf for leaf in leaves(asked.space.root) if count(leaf) != 1]
    if not space:
        return _random(asked)
    seed = derive_seed(asked.seed, "sobol", asked.attempt)
    return Planned(_named(space, sobol_point(len(space), seed, asked.number)), rest=_random(asked))


def _auto(asked: Asked) -> BaseSampler:
    return _auto_sampler(asked.draw)


def _auto_sampler(seed: int) -> BaseSampler:
    """OptunaHub's AutoSampler, which its package downloads and keeps."""
    try:
        import optunahub
    except ImportError as error:
        raise ConfigError("--sampler", "auto", "another one, or install its package: pip install optunahub") from error
    try:
        sampler: BaseSampler = optunahub.load_module("samplers/auto_sampler").AutoSampler(seed=seed)
    except Exception as error:
        raise UnavailableError(f"OptunaHub's AutoSampler could not be loaded: {error}") from error
    return sampler


def _evolving(space: Space) -> list[IntRange | FloatRange]:
    ranges = [leaf for leaf in leaves(space.root) if isinstance(leaf, IntRange | FloatRange)]
    return [leaf for leaf in ranges if not leaf.within and count(leaf) != 1]


def _named(space: Sequence[Range], point: Sequence[float]) -> dict[str, Scalar]:
    return {leaf.name: value_at(leaf, place) for leaf, place in zip(space, point, strict=True)}


SAMPLERS: dict[SamplerName, Callable[[Asked], BaseSampler]] = {
    "tpe": _tpe,
    "random": _random,
    "grid": _grid,
    "gp": _gp,
    "cmaes": _cmaes,
    "quasirandom": _quasirandom,
    "auto": _auto,
}
