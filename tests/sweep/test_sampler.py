"""A proposal is a function of space, seed, number and past, and of nothing else."""

import sys
import types
import warnings
from collections.abc import Callable
from typing import get_args

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.search_space.group_decomposed import _GroupDecomposedSearchSpace
from optuna.trial import FrozenTrial, TrialState, create_trial

from dmlray.config import TrialConfig
from dmlray.errors import ConfigError, UnavailableError
from dmlray.sweep.asking import SpaceExhaustedError, fingerprint, next_candidate
from dmlray.sweep.names import SamplerName
from dmlray.sweep.sampler import Proposal, propose, suggestions
from dmlray.sweep.samplers import _Groups, check_sampler, startup_trials
from dmlray.sweep.space import Space
from tests.sweep.spaces import SPACE, load_text, quality

pytestmark = pytest.mark.thorough

DISCRETE = """
space:
  epochs: 4
  encoder: {choice: {none: {}, gru: {hidden: {int: [8, 24], step: 8}, dropout: {float: [0.0, 0.3], step: 0.1}}}}
  optimizer: {kind: adam, learning_rate: 0.01, clip_norm: {choice: [null, 1.0]}}
"""
GP = pytest.param("gp", marks=pytest.mark.thorough)
TPE = pytest.param("tpe", marks=pytest.mark.thorough)
OPEN = ["tpe", "random", GP, "cmaes", "quasirandom"]
ALL = [*OPEN, "grid"]


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Space:
    return load_text(tmp_path_factory.mktemp("space"), SPACE + "  batch_size: {int: [16, 256], log: true}\n")


@pytest.fixture(scope="module")
def discrete(tmp_path_factory: pytest.TempPathFactory) -> Space:
    return load_text(tmp_path_factory.mktemp("discrete"), DISCRETE)


def tried(proposal: Proposal, number: int, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    value = quality(proposal.config) if state in (TrialState.COMPLETE, TrialState.PRUNED) else None
    trial = create_trial(
        state=state,
        value=value,
        params=proposal.params,
        distributions=proposal.distributions,
        intermediate_values={1: value} if value is not None else None,
    )
    trial.number = number
    return trial


def trials(space: Space, count: int, state: TrialState = TrialState.COMPLETE) -> list[FrozenTrial]:
    return [tried(propose(space, "random", 5, number, []), number, state) for number in range(count)]


def sweep(space: Space, sampler: SamplerName, seed: int, count: int, kept: int = 0) -> list[Proposal]:
    """Ask ``count`` trials one after another, each trained before the next, the first ``kept`` from an earlier life."""
    proposals = [] if not kept else sweep(space, sampler, seed, kept)
    for number in range(len(proposals), count):
        past = [tried(proposal, n, _state(n)) for n, proposal in enumerate(proposals)]
        proposals.append(propose(space, sampler, seed, number, past))
    return proposals


def _state(number: int) -> TrialState:
    return TrialState.PRUNED if number % 3 == 2 else TrialState.COMPLETE


@pytest.fixture
def searched(sampler: SamplerName, space: Space, discrete: Space) -> Space:
    """A space that the sampler can search."""
    return discrete if sampler == "grid" else space


@pytest.mark.parametrize("sampler", ALL)
@settings(deadline=None, max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**62), kept=st.integers(0, 11))
def test_a_resumed_sweep_asks_what_the_uninterrupted_one_asks(
    searched: Space, sampler: SamplerName, seed: int, kept: int
) -> None:
    whole = sweep(searched, sampler, seed, 12)
    assert [p.params for p in sweep(searched, sampler, seed, 12, kept)] == [p.params for p in whole]
    for proposal in whole:
        TrialConfig.model_validate(proposal.config)


@pytest.mark.parametrize("sampler", ALL)
def test_a_try_again_is_another_draw(searched: Space, sampler: SamplerName) -> None:
    past = trials(searched, 20)
    draws = [propose(searched, sampler, 3, 20, past, attempt).params for attempt in range(3)]
    assert draws[0] not in draws[1:]


@pytest.mark.parametrize("sampler", ALL)
def test_says_nothing(searched: Space, sampler: SamplerName, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        propose(searched, sampler, 1, 20, trials(searched, 20))
    assert capfd.readouterr() == ("", "")


def test_every_sampler_is_held_to_this() -> None:
    held = {"gp" if name is GP else name for name in ALL}
    assert held == set(get_args(SamplerName)) - {"auto"}, "OptunaHub's comes from the network"


@pytest.mark.parametrize("sampler", ["tpe", GP, "cmaes"])
def test_what_happened_changes_what_a_model_proposes(space: Space, sampler: SamplerName) -> None:
    assert propose(space, sampler, 1, 20, trials(space, 20)).params != propose(space, sampler, 1, 20, []).params


@pytest.mark.parametrize("sampler", ["random", "quasirandom"])
def test_what_happened_does_not_change_what_is_drawn_blindly(space: Space, sampler: SamplerName) -> None:
    assert propose(space, sampler, 1, 20, trials(space, 20)).params == propose(space, sampler, 1, 20, []).params


def test_tpe_begins_at_random(space: Space) -> None:
    few = trials(space, startup_trials(space.dimensions) - 1)
    assert propose(space, "tpe", 1, 9, few).params == propose(space, "tpe", 1, 9, []).params


@pytest.mark.parametrize("sampler", OPEN)
def test_failed_trials_and_those_outside_the_space_teach_nothing(space: Space, sampler: SamplerName) -> None:
    past, failed = trials(space, 20), trials(space, 22, TrialState.FAIL)[20:]
    outside = create_trial(state=TrialState.COMPLETE, value=0.9)
    outside.number = 22
    with_them = propose(space, sampler, 1, 23, [*past, *failed, outside])
    assert with_them.params == propose(space, sampler, 1, 23, past).params


@pytest.mark.parametrize("sampler", OPEN)
def test_waiting_counts_as_running(space: Space, sampler: SamplerName) -> None:
    past = trials(space, 20)
    waiting, running = (trials(space, 22, state)[20:] for state in (TrialState.WAITING, TrialState.RUNNING))
    proposed = propose(space, sampler, 1, 22, [*past, *waiting])
    assert proposed.params == propose(space, sampler, 1, 22, [*past, *running]).params
    assert [trial.state for trial in waiting] == [TrialState.WAITING] * 2


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_learns_from_pruned_trials(space: Space, sampler: SamplerName) -> None:
    pruned = trials(space, 20, TrialState.PRUNED)
    assert propose(space, sampler, 1, 20, pruned).params != propose(space, sampler, 1, 20, []).params


@pytest.mark.parametrize("sampler", ["tpe", GP, "cmaes"])
def test_a_model_prefers_what_was_good(space: Space, sampler: SamplerName) -> None:
    past = trials(space, 48)
    proposed = [quality(propose(space, sampler, seed, 48, past).config) for seed in range(8)]
    drawn = [quality(propose(space, "random", seed, 48, past).config) for seed in range(20)]
    assert sum(proposed) / 8 > sum(drawn) / 20 + 0.02


def test_quasirandom_points_spread_evenly(space: Space) -> None:
    rates = [propose(space, "quasirandom", 4, number, []).params["optimizer.learning_rate"] for number in range(64)]
    decades = [sum(low <= rate < 10 * low for rate in rates) for low in (1e-3, 1e-2)]
    assert decades == [32, 32]


def test_the_grid_is_walked_whole(discrete: Space) -> None:
    whole = [propose(discrete, "grid", 0, number, []).params for number in range(26)]
    assert len({str(sorted(params.items())) for params in whole}) == 26
    assert propose(discrete, "grid", 0, 26, []).params == whole[0]


@pytest.mark.parametrize("sampler", [TPE, "random", "grid", "quasirandom"])
def test_nothing_is_tried_twice_and_a_finite_space_ends(discrete: Space, sampler: SamplerName) -> None:
    past: list[FrozenTrial] = []
    seen: set[str] = set()
    for number in range(26):
        candidate = next_candidate(suggestions(discrete, sampler, 1, number, past), seen, None)
        seen.add(fingerprint(candidate.config))
        past.append(tried(candidate.proposal, number))
    assert len(seen) == 26
    with pytest.raises(SpaceExhaustedError):
        next_candidate(suggestions(discrete, sampler, 1, 26, past), seen, None)


@pytest.mark.parametrize("sampler", ["grid", "cmaes"])
def test_a_space_that_a_sampler_cannot_search(space: Space, discrete: Space, sampler: SamplerName) -> None:
    check: dict[SamplerName, Callable[[], None]] = {
        "grid": lambda: check_sampler("grid", space),
        "cmaes": lambda: check_sampler("cmaes", discrete),
    }
    named = {"grid": "fusion.projection.penalty, optimizer.learning_rate", "cmaes": "at least two ranges"}
    with pytest.raises(ConfigError, match=named[sampler]):
        check[sampler]()


def test_auto_says_what_it_lacks(space: Space, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optunahub", None)
    with pytest.raises(ConfigError, match="pip install optunahub"):
        check_sampler("auto", space)
    hub = types.ModuleType("optunahub")
    monkeypatch.setitem(sys.modules, "optunahub", hub)
    with pytest.raises(UnavailableError, match="could not be loaded"):
        check_sampler("auto", space)
    hub.load_module = lambda name: types.SimpleNamespace(AutoSampler=RandomSampler)  # type: ignore[attr-defined]
    check_sampler("auto", space)
    assert propose(space, "auto", 1, 2, []).params == propose(space, "random", 1, 2, []).params


@pytest.mark.parametrize(("dimensions", "expected"), [(1, 4), (8, 4), (9, 5), (15, 8), (60, 10)])
def test_startup_is_short_for_small_spaces(dimensions: int, expected: int) -> None:
    assert startup_trials(dimensions) == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.sampled_from("abcde")), max_size=9))
def test_parameters_are_grouped_as_optuna_groups_them(sets: list[set[str]]) -> None:
    study = optuna.create_study()
    for low, names in enumerate(sets):
        ranges = {name: FloatDistribution(-low, 1.0) for name in sorted(names)}
        study.add_trial(create_trial(value=0.0, params=dict.fromkeys(ranges, 0.5), distributions=ranges))
    found, wanted = (groups().calculate(study).search_spaces for groups in (_Groups, _GroupDecomposedSearchSpace))
    assert found == wanted
