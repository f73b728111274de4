"""Members trained anew on all data: what is trained, on what, and what the package says of it."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from dmlray.cli.app import app
from dmlray.config import TrialConfig
from dmlray.data.dataset import Dataset
from dmlray.data.union import join_splits
from dmlray.ensemble.members import load_trial_model
from dmlray.errors import InterruptedSweepError, SweepExistsError, UsageError
from dmlray.registry import Package, load_package
from dmlray.registry.card import model_card
from dmlray.registry.contents import PackagedMember
from dmlray.registry.export import export_package
from dmlray.registry.find import find_package
from dmlray.registry.refit import refit_configuration, refit_data, refit_space, trains_the_same
from dmlray.sweep.settings import SweepFolder, load_settings
from tests.registry.conftest import package_of
from tests.registry.sweeps import LINEAR, choose_ensemble, make_sweep
from tests.registry.test_publish import client, own_copy
from tests.sweep.trained import train_here
from tests.train.trials import VIDEOS, make_task, run, write_data


def member(trial: int, epoch: int, **config: Any) -> PackagedMember:
    return PackagedMember(
        name=f"{trial} (model)",
        sweep="first",
        trial=trial,
        epoch=epoch,
        gap=0.5,
        weight=0.5,
        seed=1,
        config=TrialConfig.model_validate({**LINEAR, "epochs": 6, **config}),
        file="members/0000.safetensors",
        checkpoint="c",
    )


def _check_published(sweep: SweepFolder, package: Package) -> None:
    """It predicts by its name, has its run under its own sweep's, and is registered once, with its card."""
    results, out = sweep.path.parent, sweep.path.parent / "labels"
    invoke, test = CliRunner().invoke, Dataset.open(load_settings(sweep).data / "test")
    here = ["--results", str(results), "--json"]
    words = ["predict", "--ensemble", "first/top5-refit", "--data", str(test.path), "--out", str(out), *here]
    assert json.loads(invoke(app, words).stdout)["package"] == package.digest
    for _ in range(2):
        published = invoke(app, ["publish", "first/top5-refit", *here])
        assert published.exit_code == 0, published.exception
        assert json.loads(published.stdout)["uri"] == "models:/first-top5-refit/1"
    version = client(sweep).get_model_version("first-top5-refit", "1")
    assert version.tags == {"dmlray.package": package.digest}
    assert version.description == model_card(package.contents)
    run = client(sweep).get_run(version.run_id)
    parent = client(sweep).get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.info.run_name == "first-top5-refit"
    assert package.contents.refit is not None
    assert run.data.metrics["ensemble_test_gap"] == package.contents.refit.test
    assert {each.dataset.name.split()[-1] for each in run.inputs.dataset_inputs} == {"train", "validation", "test"}
    assert len(run.inputs.model_inputs) == len(package.contents.members)


COSINE = {"kind": "adamw", "schedule": {"kind": "cosine"}}


def test_a_member_trains_as_long_as_it_was_best_with_the_rates_that_it_had() -> None:
    found = refit_configuration(member(0, 4, optimizer=COSINE, average_last=2), is_average=False, videos=100)
    assert (found.epochs, found.keep, found.average_last) == (4, "last", 1)
    assert found.optimizer.schedule.examples == 600  # type: ignore[union-attr]
    fixed = {**COSINE, "schedule": {"kind": "cosine", "examples": 50}}
    assert refit_configuration(member(0, 4, optimizer=fixed), False, 100).optimizer.schedule.examples == 50  # type: ignore[union-attr]
    assert refit_configuration(member(0, 6, average_last=2), is_average=True, videos=100).average_last == 2


def test_a_distilled_member_is_refused(tmp_path: Path) -> None:
    taught = member(3, 4, loss={"distillation": {"predictions": str(tmp_path)}})
    with pytest.raises(UsageError, match=r"member 3 \(model\) was distilled: its teacher has no scores"):
        refit_configuration(taught, False, 100)


def test_the_space_trains_each_member_once() -> None:
    members = [member(7, 4), member(2, 3, modalities=["visual"]), member(9, 4, epochs=5), member(1, 2, average_last=3)]
    space, trials = refit_space(members, [False] * 4, 100)
    assert [one.name for one in space.configurations] == ["trial 7", "trial 2", "trial 1"]
    assert trials == [0, 1, 0, 2]  # what differed only in epochs that are not trained now is the same
    for one, place in zip(members, trials, strict=True):
        config = TrialConfig.model_validate(space.configurations[place].config)
        assert config == refit_configuration(one, False, 100)
    assert (space.trials, space.stopping.rule, space.dimensions) == (3, "none", 0)


def test_a_refit_that_an_older_version_began_is_the_same() -> None:
    """Its space has not the fields that came later."""
    space, _ = refit_space([member(7, 4), member(2, 3, modalities=["visual"])], [False] * 2, 100)
    older = [replace(row, config={key: row.config[key] for key in row.config.keys() - {"snapshots", "compile"}})
             for row in space.configurations]  # fmt: skip
    assert trains_the_same(replace(space, configurations=tuple(older)), space)
    assert not trains_the_same(replace(space, configurations=tuple(older[:1])), space)
    longer = [replace(row, config={**row.config, "epochs": 5}) for row in older]
    assert not trains_the_same(replace(space, configurations=tuple(longer)), space)


def test_a_union_holds_the_videos_of_all(tmp_path: Path) -> None:
    from tests.data.videos import FRAME

    data = write_data(tmp_path / "data", FRAME)
    first, second = (Dataset.open(data / split) for split in ("train", "validation"))
    union = join_splits(tmp_path / "union" / "train", [first, second])
    assert list(union.ids) == [*first.ids, *second.ids]
    union.verify()
    wanted = second.block(0).features["visual"]
    assert np.array_equal(union.block(len(first.manifest.shards[0].blocks)).features["visual"], wanted)
    assert union.manifest.duplicate_ids == len(union.ids) - len(set(union.ids))
    assert join_splits(tmp_path / "union" / "train", [first, second]).fingerprint == union.fingerprint
    assert not list((tmp_path / "union").glob(".*"))


def test_test_is_not_trained_on(tmp_path: Path) -> None:
    from tests.data.videos import VIDEO

    data = write_data(tmp_path / "data", VIDEO)
    for _ in range(2):  # the second time all is there
        folder = refit_data(tmp_path / "splits", data)
    sizes = {split: len(Dataset.open(folder / split)) for split in VIDEOS}
    assert sizes == {**VIDEOS, "train": VIDEOS["train"] + VIDEOS["validation"]}
    assert Dataset.open(folder / "test").fingerprint == Dataset.open(data / "test").fingerprint


@pytest.mark.thorough
def test_the_last_epoch_is_kept(tmp_path: Path) -> None:
    """At a rate so high that an epoch is worse than one before it, and the trial ends there."""
    from tests.data.videos import VIDEO

    data = write_data(tmp_path / "data", VIDEO)
    wild = {**LINEAR, "epochs": 9, "optimizer": {"kind": "adam", "learning_rate": 30.0}}
    gaps = [epoch["val_gap"] for epoch in run(make_task(data, tmp_path / "look", wild)).curve()]
    worse = next(epoch for epoch in range(2, 10) if gaps[epoch - 1] < max(gaps[: epoch - 1]))
    wild = {**wild, "epochs": worse}
    best, last = (run(make_task(data, tmp_path / keep, {**wild, "keep": keep})) for keep in ("best", "last"))
    assert best.outcome.best_epoch < worse
    assert (last.outcome.best_epoch, last.outcome.value) == (worse, gaps[worse - 1])
    assert load_trial_model(last.task.directory).epoch == worse
    mean = run(make_task(data, tmp_path / "mean", {**wild, "keep": "last", "average_last": 2}))
    report = mean.reports[-1].metrics
    assert report["val_gap"] == report["val_gap_averaged"]
    assert load_trial_model(mean.task.directory).is_average
    assert not load_trial_model(last.task.directory).is_average
    sweep = make_sweep(tmp_path / "packed", data, ({**wild, "keep": "last", "average_last": 2},))
    choose_ensemble(sweep, 1)
    assert [one.is_average for one in load_package(export_package(sweep, "top5")).contents.members] == [True]


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # SQLAlchemy, of MLflow's models
@pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow")
@pytest.mark.filterwarnings("ignore::FutureWarning:mlflow")
@pytest.mark.filterwarnings("ignore::UserWarning:mlflow")
def test_the_command(video_sweep: SweepFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = own_copy(video_sweep, tmp_path)
    words = ["refit", "--ensemble", "first/top5", "--results", str(sweep.path.parent), "--json"]
    invoke = partial(CliRunner().invoke, app, words)
    monkeypatch.setattr("dmlray.sweep.session.run_sweep", partial(train_here, [1]))
    assert isinstance(invoke().exception, InterruptedSweepError)
    assert not (sweep.ensemble("top5-refit") / "package").exists()
    monkeypatch.setattr("dmlray.sweep.session.run_sweep", partial(train_here, [1] * 9))
    told = invoke()
    assert told.exit_code == 0, told.stderr
    assert "trial   0" not in told.stderr  # it was finished before
    document = json.loads(told.stdout)
    assert document["videos"] == VIDEOS["train"] + VIDEOS["validation"]
    original = load_package(package_of(sweep))
    again = load_package(Path(document["package"]))
    assert [one.weight for one in again.contents.members] == [one.weight for one in original.contents.members]
    assert [one.temperature for one in again.contents.members] == [o.temperature for o in original.contents.members]
    assert [one.epoch for one in again.contents.members] == [one.epoch for one in original.contents.members]
    assert again.contents.refit is not None
    assert again.contents.refit.original == original.digest == document["original"]
    test = Dataset.open(load_settings(sweep).data / "test")
    assert 0 < document["test"] <= 1
    assert document["test_interval"][0] <= document["test"] <= document["test_interval"][1]
    assert "Validation figures mean nothing for them any more" in model_card(again.contents)
    assert again.predict(test).shape == (VIDEOS["test"], again.schema.classes)
    monkeypatch.setattr("dmlray.sweep.session.run_sweep", None)  # nothing is left to train
    assert json.loads(invoke().stdout) == document
    assert find_package("first/top5-refit", sweep.path.parent) == Path(document["package"])
    _check_published(sweep, again)
    again_chosen = CliRunner().invoke(app, ["ensemble", "first-top5-refit", "--results", str(sweep.path.parent)])
    assert "nothing can be chosen by them" in str(again_chosen.exception)
    (sweep.path.parent / "first-top5-refit" / "space.yaml").write_text("space: {epochs: 2}\n")
    other = invoke().exception
    assert isinstance(other, SweepExistsError)
    assert "trains something else: choose another --name" in str(other)
