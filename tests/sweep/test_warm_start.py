"""What a sweep takes from an earlier one, and that it takes nothing else."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from dmlray.sweep.ranges import Scalar
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.session import create_sweep
from dmlray.sweep.settings import SweepConfig, load_settings
from dmlray.sweep.space import Space
from dmlray.sweep.study import Study
from dmlray.sweep.warm_start import Observation, told, warm_start
from tests.sweep.spaces import load_text, quality

WIDE = """
space:
  epochs: 4
  batch_size: {int: [16, 64], step: 16}
  encoder: {choice: {none: {}, gru: {hidden: {int: [8, 64], log: true}}, lstm: {hidden: 32}}}
  optimizer: {kind: adam, learning_rate: {float: [1.0e-4, 1], log: true}}
"""
NARROW = """
space:
  epochs: 2
  encoder: {choice: {none: {}, gru: {hidden: {int: [8, 64], log: true}, layers: {int: [1, 2]}}}}
  optimizer: {kind: adam, learning_rate: {float: [1.0e-3, 0.1], log: true}}
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Space:
    return load_text(tmp_path_factory.mktemp("wide"), WIDE)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Space:
    return load_text(tmp_path_factory.mktemp("narrow"), NARROW)


@pytest.fixture(scope="module")
def earlier(wide: Space, tmp_path_factory: pytest.TempPathFactory) -> list[TrialRecord]:
    path = tmp_path_factory.mktemp("earlier") / "study.db"
    with closing(Study.create(path, "earlier", seed=1, sampler="random")) as study:
        for number in range(40):
            trial = study.ask(wide)
            study.start(number)
            value = quality(trial.config)
            study.report(number, 1, {"val_gap": value}, "c", "d")
            if number % 4 == 3:
                study.prune(number, value, 1, {})
            elif number % 10 == 0:
                study.fail(number, "out_of_memory", "no room")
            else:
                study.complete(number, value, 1, {})
        return study.trials()


def inside(trial: TrialRecord) -> bool:
    rate = trial.config["optimizer"]["learning_rate"]
    return trial.value is not None and 1e-3 <= rate <= 0.1 and trial.config["encoder"]["kind"] != "lstm"


def test_takes_what_lies_in_the_space_and_names_the_rest(narrow: Space, earlier: list[TrialRecord]) -> None:
    note, prior = warm_start(narrow, "earlier", earlier)
    assert list(note.trials) == [trial.number for trial in earlier if inside(trial)]
    assert set(note.left_out) == {trial.number for trial in earlier if not inside(trial)}
    assert note.unused == ("batch_size",)
    for trial, observation in zip((t for t in earlier if inside(t)), prior, strict=True):
        assert observation.params["optimizer.learning_rate"] == trial.params["optimizer.learning_rate"]
        assert (observation.value, observation.is_complete) == (trial.value, trial.state is TrialState.complete)
    gru = [observation.params for observation in prior if observation.params["encoder"] == "gru"]
    assert all(params["encoder.gru.layers"] == 1 for params in gru), "fixed there by its default, searched here"


def test_says_why_a_trial_is_left_out(narrow: Space, earlier: list[TrialRecord]) -> None:
    config = {**earlier[1].config, "optimizer": {**earlier[1].config["optimizer"], "learning_rate": 0.5}}
    odd = [replace(earlier[1], config=config), replace(earlier[0], number=2)]
    note, _ = warm_start(narrow, "earlier", odd)
    assert note.left_out[1].startswith(("optimizer.learning_rate: 0.5 lies outside", "encoder: 'lstm' lies outside"))
    assert note.left_out[2] == "has no value, it is failed"


def test_a_sampler_is_told_of_them_below_the_first_number(narrow: Space, earlier: list[TrialRecord]) -> None:
    _, prior = warm_start(narrow, "earlier", earlier)
    trials = told(narrow, [observation.as_json() for observation in prior])
    assert [trial.number for trial in trials] == list(range(-len(prior), 0))
    assert [trial.value for trial in trials] == [observation.value for observation in prior]
    assert {trial.state.name for trial in trials} == {"COMPLETE", "PRUNED"}


def ask(path: Path, space: Space, count: int) -> list[dict[str, object]]:
    """Trials of the study at ``path``, each trained; the study is opened anew for each."""
    for _ in range(count):
        with closing(Study.open(path)) as study:
            trial = study.ask(space)
            study.start(trial.number)
            study.complete(trial.number, quality(trial.config), 1, {})
    with closing(Study.open(path, read_only=True)) as study:
        return [trial.params for trial in study.trials()]


@pytest.mark.thorough
def test_they_steer_the_first_trials_and_are_never_trials_themselves(
    tmp_path: Path, narrow: Space, earlier: list[TrialRecord]
) -> None:
    note, prior = warm_start(narrow, "earlier", earlier)
    settled = {"name": "toy", "data": Path("/data"), "fingerprints": {}, "trials": 3, "tracking_uri": ""}
    config = SweepConfig.model_validate(settled | {"warm_start": note})
    folder = create_sweep(tmp_path, config, narrow, prior=prior)
    assert load_settings(folder).warm_start == note
    warm = ask(folder.study, narrow, 3)
    assert len(warm) == 3, "only its own"
    again = create_sweep(tmp_path, config.model_copy(update={"name": "again"}), narrow, prior=prior)
    assert ask(again.study, narrow, 3) == warm
    Study.create(tmp_path / "cold.db", "cold", seed=0).close()
    assert ask(tmp_path / "cold.db", narrow, 1) != warm[:1], "a model, where a cold start draws at random"


def test_numbers_are_told_as_they_were(narrow: Space) -> None:
    params: dict[str, Scalar] = {"encoder": "none", "optimizer.learning_rate": 0.012345678901234567}
    observation = Observation(dict(params), 0.1 + 0.2, True, [(1, float("nan")), (2, 0.1 + 0.2)])
    (trial,) = told(narrow, [observation.as_json()])
    assert (trial.params, trial.value, trial.intermediate_values) == (params, 0.1 + 0.2, {2: 0.1 + 0.2})
