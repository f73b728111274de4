"""Trials of several sweeps in one ensemble: chosen, measured, packaged and logged under the sweep that they are of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dmlray.cli.ensemble import _others
from dmlray.data.dataset import open_splits
from dmlray.ensemble.candidates import Candidate, load_candidates
from dmlray.ensemble.choice import EnsembleSettings
from dmlray.ensemble.dense import DenseBlender
from dmlray.ensemble.members import evaluation_seed
from dmlray.ensemble.origin import Snapshot, is_own, number_of, origin, shown, snapshot_number, snapshot_of
from dmlray.ensemble.report import save_ensemble
from dmlray.ensemble.runs import ensemble_run
from dmlray.ensemble.search import search_ensemble
from dmlray.errors import ConfigError, UsageError
from dmlray.registry import load_package
from dmlray.registry.export import export_package
from dmlray.sweep.runs import trial_key
from dmlray.sweep.settings import SweepFolder, load_settings, save_settings
from tests.data.videos import FRAME
from tests.registry.sweeps import FRAME_MODELS, make_sweep
from tests.train.trials import write_data


def test_numbers_tell_trials_of_sweeps_apart() -> None:
    others = ["second", "third"]
    assert [origin(number, "first", others) for number in (3, number_of(0, 3), number_of(1, 0), -2)] == [
        ("first", 3), ("second", 3), ("third", 0), ("first", -2),
    ]  # fmt: skip
    assert [shown(number, others) for number in (3, number_of(1, 12), -2)] == ["3", "third/12", "-2"]


@given(trial=st.integers(0, 99_999), epoch=st.integers(1, 100_000), is_raw=st.booleans(), place=st.integers(-1, 9_000))
def test_numbers_tell_the_models_of_a_trial_apart(trial: int, epoch: int, is_raw: bool, place: int) -> None:
    others = [f"other{n}" for n in range(9_001)]
    snapshot = Snapshot(epoch, is_raw)
    number = snapshot_number(trial, snapshot)
    number = number if place < 0 else number_of(place, number)
    assert number < 2**53  # a JSON reader may know no larger whole numbers
    assert (snapshot_of(number), is_own(number)) == (snapshot, place < 0)
    assert origin(number, "own", others) == ("own" if place < 0 else others[place], trial)
    sweep = "" if place < 0 else f"{others[place]}/"
    assert shown(number, others) == f"{sweep}{trial}@{epoch}" + ("-raw" if is_raw else "")
    plain = trial if place < 0 else number_of(place, trial)
    assert (snapshot_of(plain), is_own(plain), snapshot_of(-1), is_own(-1)) == (None, place < 0, None, False)


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepFolder, SweepFolder]:
    """Two sweeps of one model each, of the same data; both draw frames at random, by seeds of their own."""
    folder = tmp_path_factory.mktemp("several")
    data = write_data(folder / "data", FRAME)
    random = {**FRAME_MODELS[0], "optimizer": {"kind": "adam", "learning_rate": 0.05}}
    first = make_sweep(folder, data, FRAME_MODELS[:1], "first")
    return first, make_sweep(folder, data, (random,), "second")


def joined(sweeps: tuple[SweepFolder, SweepFolder]) -> list[Candidate]:
    first, second = sweeps
    candidates = load_candidates([(0, "own", first.trial(0))])
    (other,) = load_candidates([(0, "another", second.trial(0))])
    seed = evaluation_seed(load_settings(second).seed, 0)
    return [*candidates, replace(other, trial=number_of(0, 0), seed=seed)]


def test_a_package_holds_trials_of_both(sweeps: tuple[SweepFolder, SweepFolder]) -> None:
    first, _ = sweeps
    config = load_settings(first)
    splits = open_splits(config.data, train=False)
    blender = DenseBlender(splits, config.seed, torch.device("cpu"))
    found = search_ensemble(joined(sweeps), EnsembleSettings(resamples=5), None, blender, ["second"])
    found = replace(found, report=found.report.model_copy(update={"weights": "gap"}))
    assert {member.trial for member in found.report.members} == {0, number_of(0, 0)}
    save_ensemble(first.ensemble("both"), found.report, found.validation, found.test)
    package = load_package(export_package(first, "both"))
    assert {(member.sweep, member.trial) for member in package.contents.members} == {("first", 0), ("second", 0)}
    scores = package.predict(splits["test"])
    assert found.test is not None
    mine = np.take_along_axis(scores, found.test.labels.astype(np.int64), axis=1)
    np.testing.assert_allclose(mine, found.test.scores, atol=2e-6)
    run = ensemble_run(config, "both", found.report, first.ensemble("both"))
    assert set(run.members) == {trial_key("first", 0), trial_key("second", 0)}
    assert "second/0: " in run.params["members"]


def test_the_sentence_names_the_sweep(sweeps: tuple[SweepFolder, SweepFolder]) -> None:
    report = search_ensemble(joined(sweeps)[1:], EnsembleSettings(resamples=5), None, None, ["second"]).report
    assert report.summary.startswith("The best single trial (second/0) is the best ensemble")


def test_what_does_not_belong_is_refused(sweeps: tuple[SweepFolder, SweepFolder], tmp_path: Path) -> None:
    first, _ = sweeps
    config = load_settings(first)
    assert [one.path.name for one in _others(first, config, ["second"])] == ["second"]
    for names in (["first"], ["second", "second"]):
        with pytest.raises(UsageError, match="that sweep's trials are candidates already"):
            _others(first, config, names)
    for path in ("./first", "../x/second"):  # by which the sweep's own trials would join, or another's be packaged
        with pytest.raises(ConfigError, match="--also"):
            _others(first, config, [path])
    elsewhere = SweepFolder(first.path.parent, "elsewhere")
    save_settings(elsewhere, config.model_copy(update={"name": "elsewhere", "fingerprints": {"validation": "x"}}))
    with pytest.raises(UsageError, match="elsewhere has other validation videos than first"):
        _others(first, config, ["elsewhere"])
    save_settings(elsewhere, config.model_copy(update={"name": "elsewhere", "refit": "first/top5"}))
    with pytest.raises(UsageError, match="was trained on the validation videos"):
        _others(first, config, ["elsewhere"])
