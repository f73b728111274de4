"""A proposal is a function of space, seed and past, and of nothing else."""

import warnings
from pathlib import Path

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from dmlray.sweep.sampler import SamplerName, propose, startup_trials
from dmlray.sweep.space import Space
from tests.sweep.spaces import SPACE, load_text, quality


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Space:
    return load_text(tmp_path_factory.mktemp("space"), SPACE)


def trials(space: Space, count: int, state: TrialState = TrialState.COMPLETE) -> list[FrozenTrial]:
    past = []
    for number in range(count):
        proposal = propose(space, "random", number, [])
        value = quality(proposal.config) if state == TrialState.COMPLETE else None
        steps = {1: quality(proposal.config)} if state == TrialState.PRUNED else None
        trial = create_trial(
            state=state,
            value=value,
            params=proposal.params,
            distributions=proposal.distributions,
            intermediate_values=steps,
        )
        trial.number = number
        past.append(trial)
    return past


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("count", [0, 3, 20])
def test_the_same_arguments_give_the_same_proposal(space: Space, sampler: SamplerName, count: int) -> None:
    past = trials(space, count)
    first, second = (propose(space, sampler, 2**62 + 1, past) for _ in range(2))
    assert (first.config, first.params) == (second.config, second.params)
    assert propose(space, sampler, 7, past).params != first.params


def test_what_happened_changes_what_tpe_proposes_and_not_what_random_does(space: Space) -> None:
    past = trials(space, 20)
    assert propose(space, "tpe", 1, past).params != propose(space, "tpe", 1, []).params
    assert propose(space, "random", 1, past).params == propose(space, "random", 1, []).params


def test_tpe_begins_at_random(space: Space) -> None:
    few = trials(space, startup_trials(space.dimensions) - 1)
    assert propose(space, "tpe", 1, few).params == propose(space, "tpe", 1, []).params


def test_failed_trials_teach_nothing(space: Space) -> None:
    past, failed = trials(space, 20), trials(space, 22, TrialState.FAIL)[20:]
    assert propose(space, "tpe", 1, [*past, *failed]).params == propose(space, "tpe", 1, past).params


def test_waiting_counts_as_running(space: Space) -> None:
    past = trials(space, 20)
    waiting, running = (trials(space, 22, state)[20:] for state in (TrialState.WAITING, TrialState.RUNNING))
    proposed = propose(space, "tpe", 1, [*past, *waiting])
    assert proposed.params == propose(space, "tpe", 1, [*past, *running]).params
    assert [trial.state for trial in waiting] == [TrialState.WAITING] * 2


def test_tpe_learns_from_pruned_trials(space: Space) -> None:
    pruned = trials(space, 20, TrialState.PRUNED)
    assert propose(space, "tpe", 1, pruned).params != propose(space, "tpe", 1, []).params


def test_tpe_prefers_what_was_good(space: Space) -> None:
    past = trials(space, 40)
    proposed = [quality(propose(space, "tpe", seed, past).config) for seed in range(20)]
    drawn = [quality(propose(space, "random", seed, past).config) for seed in range(20)]
    assert sum(proposed) / 20 > sum(drawn) / 20 + 0.03


@pytest.mark.parametrize(("dimensions", "expected"), [(1, 4), (8, 4), (9, 5), (15, 8), (60, 10)])
def test_startup_is_short_for_small_spaces(dimensions: int, expected: int) -> None:
    assert startup_trials(dimensions) == expected


def test_says_nothing(space: Space, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        propose(space, "tpe", 1, trials(space, 20))
    assert capfd.readouterr() == ("", "")
