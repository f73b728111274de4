"""Further models of a trial: which checkpoints stay, what they predict, and how they become members."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from dmlray.cli.app import app
from dmlray.config import TrialConfig
from dmlray.copies import FolderCopy
from dmlray.data.dataset import Dataset, open_splits
from dmlray.data.predictions import load_predictions
from dmlray.ensemble import snapshots
from dmlray.ensemble.candidates import Candidate
from dmlray.ensemble.members import load_trial_model, trial_model
from dmlray.ensemble.origin import Snapshot, number_of, snapshot_number, snapshot_of
from dmlray.ensemble.parts import gap_on
from dmlray.ensemble.sweeps import finished_candidates, finished_trials, snapshot_candidates
from dmlray.errors import StorageError
from dmlray.registry.export import load_report
from dmlray.registry.find import find_package
from dmlray.registry.package import load_package
from dmlray.registry.refit import refit_configuration, refit_space
from dmlray.remote import Remote
from dmlray.report.measures import measure_ensemble
from dmlray.sweep.fsck import check_files
from dmlray.sweep.records import TrialRecord
from dmlray.sweep.settings import SweepFolder, load_settings
from dmlray.sweep.study import Study
from dmlray.sweep.trimming import Trimming
from dmlray.train.checkpoint import has_trained
from dmlray.train.resume import best_epochs
from dmlray.train.trial import run_trial
from tests.data.videos import FRAME, VIDEO, random_block, write_dataset
from tests.sweep.trained import train_sweep
from tests.train.trials import CPU, LOGISTIC, VIDEOS, Ran, make_task, run, write_data

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's imports warn

EMA = {"kind": "adam", "learning_rate": 0.5, "ema_decay": 0.7}
SPACE = """
space:
  epochs: 6
  snapshots: 3
  batch_size: 8
  frames: {select: random, count: 3}
  optimizer: {kind: adam, learning_rate: {float: [3.0, 10.0], log: true}, ema_decay: 0.7}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    """Two trials of 6 epochs that have kept 3 of them, each with its average; frames are drawn at random."""
    return trained(tmp_path_factory.mktemp("snapshots"), 2)


def trained(results: Path, trials: int, space: str = SPACE, name: str = "toy") -> SweepFolder:
    found = train_sweep(results, trials, space, name, FRAME)
    Trimming(found).trim(records(found))
    return found


def records(folder: SweepFolder) -> list[TrialRecord]:
    with closing(Study.open(folder.study, read_only=True)) as study:
        return study.trials()


def left(directory: Path) -> list[str]:
    return sorted(path.name for path in (directory / "checkpoints").iterdir())


def names(epochs: set[int]) -> list[str]:
    return [f"epoch-{epoch:04d}.safetensors" for epoch in sorted(epochs)]


def found_in(folder: SweepFolder) -> list[Candidate]:
    config = load_settings(folder)
    splits = open_splits(config.data, train=False)
    return list(snapshot_candidates(finished_trials(folder), splits, config.seed, CPU, lambda done, of: None))


def gap_of(candidate: Candidate, split: str = "validation") -> float:
    store = candidate.validation if split == "validation" else candidate.test
    assert store is not None
    return gap_on(store, np.arange(len(store)))


def test_the_best_epochs_are_the_first_of_like_ones() -> None:
    history = [(1, 0.3), (2, 0.5), (3, float("nan")), (4, 0.5), (5, 0.4)]
    assert [best_epochs(history, count) for count in (1, 2, 3, 9)] == [{2}, {2, 4}, {2, 4, 5}, {1, 2, 4, 5}]
    assert best_epochs(history, 2, "last") == {4, 5}


def test_the_last_epochs_stay_where_the_last_is_the_trials(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", VIDEO)
    ran = run(make_task(data, tmp_path / "trial", {**LOGISTIC, "snapshots": 3, "keep": "last"}))
    assert left(ran.task.directory) == names({2, 3, 4, 5})  # of 4 and of 5 the last three


@pytest.mark.parametrize("stopped", [None, 3])
def test_as_many_checkpoints_stay_as_were_asked_for(tmp_path: Path, stopped: int | None) -> None:
    """Also where the trial was cut off in between; beside them those that it would have gone on from."""
    data = write_data(tmp_path / "data", VIDEO)
    wild = {**LOGISTIC, "epochs": 8, "snapshots": 3, "optimizer": {"kind": "adam", "learning_rate": 20.0}}
    ran = run(make_task(data, tmp_path / "trial", wild), stop_after=stopped)
    reports = ran.reports
    if stopped is not None:
        run_trial(ran.resumed(), lambda report: bool(reports.append(report)) or True, CPU)
    history = [(report.epoch, report.metrics["val_gap"]) for report in reports]
    assert [epoch for epoch, _ in history] == list(range(1, 9))
    best = best_epochs(history, 3)
    assert best != {6, 7, 8}
    assert set(names({*best, 7, 8})) <= set(left(ran.task.directory))
    assert len(left(ran.task.directory)) <= 6  # 2 newest, 3 best, and the best before


def test_an_ended_trial_keeps_its_best_epochs(folder: SweepFolder) -> None:
    trials = records(folder)
    for trial in trials:
        assert left(folder.trial(trial.number)) == names(best_epochs(trial.history, 3))
    assert list(check_files(folder, load_settings(folder), trials)) == []


def test_each_predicts_what_it_was_measured_with(folder: SweepFolder) -> None:
    """GAP of a checkpoint is what the trial reported of that epoch; one of each trial is the trial's own model."""
    found = {one.trial: one for one in found_in(folder)}
    assert len(found) == 2 * (2 + 3)  # of two epochs the averages, of all three what was averaged
    for trial in records(folder):
        for epoch in best_epochs(trial.history, 3) - {trial.best_epoch}:
            candidate = found[snapshot_number(trial.number, Snapshot(epoch, is_raw=False))]
            assert gap_of(candidate) == pytest.approx(dict(trial.history)[epoch], abs=1e-9)
            assert candidate.name.endswith(f", epoch {epoch}")
            assert candidate.test is not None
            assert len(candidate.test) == 16
    for number, candidate in found.items():
        model = load_trial_model(candidate.directory, snapshot_of(number))
        assert model.checkpoint == candidate.validation.meta["checkpoint"]


def test_what_stands_behind_an_average_is_the_trial_without_it(tmp_path: Path) -> None:
    """Trained from the same seed without an average, a trial reports the raw model's GAP after every epoch."""
    data = write_data(tmp_path / "data", VIDEO)
    splits = open_splits(data, train=False)

    def trained(name: str, **changes: Any) -> Ran:
        return run(make_task(data, tmp_path / name, {**LOGISTIC, "snapshots": 5, **changes}))

    averaged, plain = trained("averaged", optimizer=EMA), trained("plain", optimizer={**EMA, "ema_decay": None})
    own = Candidate(
        0, "model", averaged.task.directory, load_predictions(averaged.task.directory / "predictions.arrow")
    )
    checkpoints = [snapshots.Checkpoint(one.epoch, one.checkpoint, one.digest) for one in averaged.reports]
    found = {snapshot_of(one.trial): one for one in snapshots.snapshots_of(own, checkpoints, splits, 0, CPU)}
    raw = [gap_of(found[Snapshot(epoch, is_raw=True)]) for epoch in range(1, 6)]
    assert raw == pytest.approx([report.metrics["val_gap"] for report in plain.reports], abs=1e-9)
    assert raw != pytest.approx([report.metrics["val_gap"] for report in averaged.reports], abs=1e-3)


@pytest.mark.parametrize("rate", [8.0, 12.0])
def test_a_mean_of_epochs_is_known_as_one(tmp_path: Path, rate: float) -> None:
    """Also where an earlier epoch is the best: a refit trains it as a mean again."""
    wild = {**LOGISTIC, "average_last": 2, "snapshots": 5, "optimizer": {"kind": "adam", "learning_rate": rate}}
    ran = run(make_task(write_data(tmp_path / "data", VIDEO), tmp_path / "trial", wild))
    assert ran.outcome.best_epoch < 5
    last = ran.reports[-1]
    path = ran.task.directory / "checkpoints" / last.checkpoint
    is_better = last.metrics["val_gap_averaged"] > last.metrics["val_gap_last"]
    assert is_better == (rate == 8.0)
    assert trial_model(path, last.digest, ran.task.config).is_average == is_better == has_trained(path)
    first = ran.reports[0]
    with pytest.raises(StorageError, match="holds no model beside an average"):
        trial_model(path.with_name(first.checkpoint), first.digest, ran.task.config, is_raw=True)


def test_they_predict_once(folder: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [(one.trial, gap_of(one), gap_of(one, "test")) for one in found_in(folder)]
    runs: list[str] = []
    score = snapshots.score_split
    stamp = {path: path.stat().st_mtime_ns for path in (folder.trial(0) / "snapshots").iterdir()}

    def counted(models: Any, dataset: Dataset, *rest: Any) -> Any:
        runs.append(dataset.path.name)
        return score(models, dataset, *rest)

    monkeypatch.setattr(snapshots, "score_split", counted)
    assert [(one.trial, gap_of(one), gap_of(one, "test")) for one in found_in(folder)] == before
    assert runs == []
    assert stamp == {path: path.stat().st_mtime_ns for path in stamp}
    stores = sorted((folder.trial(0) / "snapshots").glob("*.arrow"))
    stores[0].write_bytes(stores[0].read_bytes()[:-100])  # damaged
    stores[1].write_bytes(stores[3].read_bytes())  # another model of that checkpoint
    assert [(one.trial, gap_of(one), gap_of(one, "test")) for one in found_in(folder)] == before
    assert len(runs) == 2


def test_what_other_features_gave_is_not_taken_for_theirs(tmp_path: Path) -> None:
    """Of the same videos, by their ids, but converted from something else."""
    data = write_data(tmp_path / "data", VIDEO)
    ran = run(make_task(data, tmp_path / "trial", {**LOGISTIC, "snapshots": 2}))
    own = Candidate(0, "model", ran.task.directory, load_predictions(ran.task.directory / "predictions.arrow"))
    checkpoints = [snapshots.Checkpoint(one.epoch, one.checkpoint, one.digest) for one in ran.reports]

    def gaps(folder: Path) -> list[float]:
        splits = {"validation": Dataset.open(folder / "validation")}
        return [gap_of(one) for one in snapshots.snapshots_of(own, checkpoints, splits, 0, CPU)]

    right = gaps(data)
    write_dataset(tmp_path / "other", VIDEO, [[random_block(VIDEO, VIDEOS["validation"], seed=1)]], "validation")
    assert gaps(tmp_path / "other") != right
    assert gaps(data) == right


def test_checkpoints_that_were_not_fetched_are_brought(tmp_path: Path) -> None:
    folder = trained(tmp_path, 1)
    before = [(one.trial, gap_of(one)) for one in found_in(folder)]
    storage = tmp_path / "storage"
    storage.mkdir()
    copy = FolderCopy(folder.trial(0), Remote(str(storage)))
    copy.take()
    copy.push()
    for path in [*(folder.trial(0) / "checkpoints").iterdir(), *(folder.trial(0) / "snapshots").iterdir()]:
        path.unlink()
    assert [(one.trial, gap_of(one)) for one in found_in(folder)] == before


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    folder = trained(tmp_path, 1)
    (trial,) = records(folder)
    epoch = next(iter(best_epochs(trial.history, 3) - {trial.best_epoch}))
    path = folder.trial(0) / "checkpoints" / f"epoch-{epoch:04d}.safetensors"
    whole = path.read_bytes()
    for damaged in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:50], b""):
        path.write_bytes(damaged)
        with pytest.raises(StorageError, match=path.name):
            found_in(folder)
    path.unlink()  # it is not there, so it is no candidate
    assert {snapshot_of(one.trial).epoch for one in found_in(folder)} == best_epochs(trial.history, 3) - {epoch}  # type: ignore[union-attr]


def invoke(folder: SweepFolder, *words: str) -> Any:
    asked = ["ensemble", folder.path.name, *words, "--results", str(folder.path.parent)]
    return CliRunner().invoke(app, asked, catch_exceptions=False)


@pytest.mark.thorough
def test_the_command_packages_what_it_chose(folder: SweepFolder) -> None:
    done = invoke(folder, "--snapshots", "--top", "6", "--weights", "uniform", "--as", "many", "--json", "--front")
    document = json.loads(done.stdout)
    members = [member["trial"] for member in document["members"]]
    assert document["candidates"] == 2 * (1 + 2 + 3)
    assert any(number >= 1_000_000_000 for number in members)
    assert len({number % 100_000 for number in members}) < len(members)  # two models of one trial
    package = load_package(find_package(f"{folder.path.name}/many", folder.path.parent))
    for number, packaged in zip(members, package.contents.members, strict=True):
        snapshot = snapshot_of(number)
        assert (packaged.sweep, packaged.trial) == ("toy", number % 100_000)
        if snapshot is not None:
            assert (packaged.epoch, packaged.is_raw) == snapshot
        assert packaged.is_average is False
    test = Dataset.open(load_settings(folder).data / "test")
    stored = load_predictions(folder.ensemble("many") / "test_predictions.arrow")
    scores = np.take_along_axis(package.predict(test), stored.labels.astype(np.int64), axis=1)
    np.testing.assert_allclose(scores, stored.scores, atol=2e-6)
    assert "@" in invoke(folder, "--snapshots", "--top", "6", "--as", "many").stdout
    assert measure_ensemble(folder, "many", load_report(folder.ensemble("many"))) is not None


@pytest.mark.thorough
def test_snapshots_of_another_sweep_join(folder: SweepFolder) -> None:
    other = trained(folder.path.parent, 1, SPACE.replace("3.0, 10.0", "0.02, 0.03"), "other")
    document = json.loads(invoke(other, "--also", "toy", "--snapshots", "--top", "20", "--json").stdout)
    assert document["candidates"] == 3 * (1 + 2 + 3)
    joined = [member["trial"] for member in document["members"] if member["trial"] % 1_000_000_000 >= 100_000]
    assert joined
    assert set(joined) <= {number_of(0, one.trial) for one in [*finished_candidates(folder), *found_in(folder)]}
    assert any(member["name"].endswith("without averaging") for member in document["members"])


@pytest.mark.thorough
def test_a_sweep_without_any_is_told_of(tmp_path: Path) -> None:
    plain = trained(tmp_path, 1, SPACE.replace("snapshots: 3", "").replace(", ema_decay: 0.7", ""))
    done = invoke(plain, "--snapshots")
    assert done.exit_code == 0
    assert "has no snapshots: its trials keep more with `snapshots: 3` in the space" in done.stderr


@pytest.mark.thorough
def test_members_of_one_trial_are_refit_each_for_itself(folder: SweepFolder) -> None:
    invoke(folder, "--snapshots", "--top", "6", "--weights", "uniform", "--as", "many")
    members = load_package(find_package("toy/many", folder.path.parent)).contents.members
    first = members[0]
    average, raw = (first.model_copy(update={"epoch": 4, "is_raw": is_raw}) for is_raw in (False, True))
    later = first.model_copy(update={"epoch": 5, "is_raw": False})
    space, trials = refit_space([average, raw, later], [False] * 3, 100)
    trial = f"trial {first.trial}"
    assert [one.name for one in space.configurations] == [
        f"{trial} epoch 4",
        f"{trial} epoch 4 raw",
        f"{trial} epoch 5",
    ]
    assert trials == [0, 1, 2]
    configs = [TrialConfig.model_validate(one.config) for one in space.configurations]
    assert [(config.epochs, config.snapshots, config.optimizer.ema_decay) for config in configs] == [  # type: ignore[union-attr]
        (4, 1, 0.7), (4, 1, None), (5, 1, 0.7),
    ]  # fmt: skip
    cosine = {"kind": "adam", "ema_decay": 0.7, "schedule": {"kind": "cosine"}}
    config = TrialConfig.model_validate({**LOGISTIC, "epochs": 6, "optimizer": cosine})
    found = refit_configuration(raw.model_copy(update={"config": config}), is_average=False, videos=100).optimizer
    assert (found.ema_decay, found.schedule.examples) == (None, 600)  # type: ignore[union-attr]
