"""What a trial leaves, what it leaves alone, and the reason each failure has."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dmlray.config import TrialConfig
from dmlray.data.batch import Batches
from dmlray.data.dataset import Dataset
from dmlray.data.predictions import load_predictions
from dmlray.errors import TrainingError
from dmlray.metrics.gap import gap_from_top
from dmlray.train.task import EpochReport, TrialTask
from dmlray.train.trial import run_trial
from tests.train.trials import CPU, GRU, LOGISTIC, VIDEOS, Ran, checkpoints, files, log_lines, make_task, run


def test_leaves_what_it_promises(whole: Ran) -> None:
    outcome, reports, task = whole.outcome, whole.reports, whole.task
    assert outcome.status == "complete"
    assert (outcome.resumed_from, outcome.warnings) == (None, [])
    gaps = [report.metrics["val_gap"] for report in reports]
    assert outcome.value == max(gaps) > gaps[0]
    assert reports[-1].metrics["train_loss"] < 0.9 * reports[0].metrics["train_loss"]
    assert outcome.best_epoch == 1 + gaps.index(max(gaps))
    assert reports[0].metrics.keys() == {
        *("val_gap", "val_map", "val_hit1", "val_perr", "val_loss"),
        *("train_loss", "videos_per_s", "epoch_s", "wait_share", "evaluation_s", "checkpoint_s", "startup_s"),
    }
    assert reports[1].metrics.keys() == reports[0].metrics.keys() - {"startup_s"}
    assert min(reports[0].metrics[name] for name in ("evaluation_s", "checkpoint_s", "startup_s")) > 0
    assert outcome.test_s > 0
    assert {"test_gap", "test_map", "val_gap"} <= outcome.metrics.keys()
    assert TrialConfig.model_validate_json((task.directory / "config.json").read_text()) == task.config
    assert [line["epoch"] for line in log_lines(task)] == [1, 2, 3, 4, 5]
    assert [line["digest"] for line in log_lines(task)] == [report.digest for report in reports]


@pytest.mark.parametrize(("name", "split"), [("predictions", "validation"), ("test_predictions", "test")])
def test_predictions_are_those_of_the_best_epoch(whole: Ran, name: str, split: str) -> None:
    found = load_predictions(whole.task.directory / f"{name}.arrow")
    assert found.labels.shape == (VIDEOS[split], 20)  # at most as many as classes
    assert list(found.ids[:2]) == [f"{list(VIDEOS).index(split)}-{number}" for number in range(2)]
    assert (found.meta["split"], found.meta["trial"]) == (split, "0")
    assert found.meta["checkpoint"] == whole.reports[whole.outcome.best_epoch - 1].digest
    gap = whole.outcome.metrics["val_gap" if split == "validation" else "test_gap"]
    assert gap == pytest.approx(gap_from_top(found.labels, found.scores, *found.truth), abs=1e-12)


def test_best_epoch_is_kept_through_worse_ones(worsening: Ran) -> None:
    best = worsening.reports[worsening.outcome.best_epoch - 1]
    directory = worsening.task.directory
    assert load_predictions(directory / "predictions.arrow").meta["checkpoint"] == best.digest
    assert checkpoints(worsening.task) == {best.checkpoint, "epoch-0004.safetensors", "epoch-0005.safetensors"}


def test_stops_when_told(cut: Ran) -> None:
    assert cut.outcome.status == "stopped"
    assert len(cut.reports) == 3
    assert not (cut.task.directory / "test_predictions.arrow").exists()
    assert "test_gap" not in cut.outcome.metrics


@pytest.mark.thorough
def test_does_not_depend_on_what_ran_before(whole: Ran, frame_data: Path, tmp_path: Path) -> None:
    run(make_task(frame_data, tmp_path / "recurrent", GRU), stop_after=1)
    run(replace(whole.task, directory=tmp_path / "threads", seed=3, threads=2), stop_after=2)
    torch.rand(3)
    again = replace(whole.task, directory=tmp_path / "again")
    run(again)
    assert files(again) == files(whole.task)


def test_another_seed_is_another_trial(whole: Ran, tmp_path: Path) -> None:
    other = run(replace(whole.task, directory=tmp_path, seed=12), stop_after=1)
    assert other.curve()[0] != whole.curve()[0]


def test_leaves_the_process_as_it_was(whole: Ran, tmp_path: Path) -> None:
    threads, generator = torch.get_num_threads(), torch.get_rng_state()
    seen: list[int] = []
    task = replace(whole.task, directory=tmp_path, threads=threads + 1)
    run_trial(task, lambda report: bool(seen.append(torch.get_num_threads())), CPU)
    assert seen == [threads + 1]
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), generator)


def failure(task: TrialTask) -> TrainingError:
    with pytest.raises(TrainingError) as caught:
        run(task)
    return caught.value


@dataclass(frozen=True)
class Stream:
    """The train split again, as if it came from elsewhere."""

    dataset: Dataset
    fingerprint: str

    def batches(self, batch_size: int, **options: Any) -> Batches:
        return Batches(self.dataset, batch_size, shuffle=True, **options)


def test_a_stream_takes_the_place_of_the_train_split(whole: Ran, tmp_path: Path) -> None:
    stream = Stream(Dataset.open(whole.task.data / "train"), "stream")
    shutil.copytree(whole.task.data, tmp_path / "data", ignore=shutil.ignore_patterns("train"))
    task = replace(whole.task, data=tmp_path / "data", directory=tmp_path / "trial")
    reports: list[EpochReport] = []

    def report(epoch: EpochReport) -> bool:
        reports.append(epoch)
        return True

    outcome = run_trial(task, report, CPU, stream)
    assert Ran(task, outcome, reports).curve() == whole.curve()
    resumed = Ran(task, outcome, reports).resumed()
    assert run_trial(resumed, report, CPU, stream).resumed_from == reports[4].checkpoint
    other = run_trial(resumed, report, CPU, replace(stream, fingerprint="another"))
    assert other.resumed_from is None, "checkpoints are of the data they were trained on"


def test_parts_that_do_not_fit_are_a_bad_configuration(data: Path, tmp_path: Path) -> None:
    error = failure(make_task(data, tmp_path, {"encoder": {"kind": "gru"}}))
    assert error.reason == "bad_config"
    assert "encoder.kind" in str(error)


def test_missing_data_is_named(tmp_path: Path) -> None:
    error = failure(make_task(tmp_path / "nowhere", tmp_path))
    assert error.reason == "data"
    assert "nowhere" in str(error)


def test_damaged_data_is_named(data: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(data, tmp_path / "broken")
    (broken / "train" / "shard-00000.arrow").write_bytes(b"")
    error = failure(make_task(broken, tmp_path / "0"))
    assert error.reason == "storage"
    assert "train/shard-00000.arrow: has 0 bytes" in str(error)


def test_explosion_is_told_with_epoch_and_step(data: Path, tmp_path: Path) -> None:
    error = failure(
        make_task(data, tmp_path, {**LOGISTIC, "optimizer": {"kind": "adam", "learning_rate": 1e38, "clip_norm": None}})
    )
    assert (error.reason, error.epoch) == ("nan", 1)
    assert error.step in (2, 3)
    assert not (tmp_path / "predictions.arrow").exists()


def test_explosion_of_the_last_step_is_told_too(data: Path, tmp_path: Path) -> None:
    config = {**LOGISTIC, "batch_size": 48, "optimizer": {"kind": "adam", "learning_rate": 1e38, "clip_norm": None}}
    error = failure(make_task(data, tmp_path, config))  # one step an epoch: only validation sees what it did
    assert (error.reason, str(error)) == ("nan", "epoch 1: on the validation split the loss is not finite")
