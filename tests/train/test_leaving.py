"""Trials that are told to leave, between any two steps, go on as if nothing had been."""

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from dmlray.errors import TrainingError
from dmlray.train.limits import Watch
from dmlray.train.task import EpochReport, Limits, TrialTask
from dmlray.train.trial import run_trial
from tests.train.trials import CPU, GRU, LOGISTIC, Ran, checkpoints, files, log_lines, make_task, run

FREE: dict[str, Any] = {**GRU, "optimizer": {"kind": "schedule_free", "learning_rate": 0.02}, "micro_batch": 6}
AVERAGED: dict[str, Any] = {
    **LOGISTIC,
    "optimizer": {"kind": "adamw", "learning_rate": 0.05, "ema_decay": 0.9},
    "average_last": 2,
}


def leave(task: TrialTask, before: int, device: torch.device = CPU) -> Ran:
    """Run ``task`` and leave it at its step ``before``, counted from 1 over all of its epochs."""
    reports: list[EpochReport] = []
    asked = count(1)

    def report(epoch: EpochReport) -> bool:
        reports.append(epoch)
        return True

    watch = Watch(Limits(), must_leave=lambda: next(asked) == before)
    with pytest.raises(TrainingError, match="about to go; the trial goes on") as caught:
        run_trial(task, report, device, watch=watch)
    assert caught.value.reason == "preempted"
    told = {"checkpoint": reports[-1].checkpoint, "checkpoint_digest": reports[-1].digest} if reports else {}
    return Ran(replace(task, **told), None, reports)  # type: ignore[arg-type]


def holds_for(whole: Ran, directory: Path, *steps: int) -> None:
    """Leave at each of ``steps``, counted from where the trial had got to, and then finish."""
    task, reports = replace(whole.task, directory=directory), list[EpochReport]()
    for step in steps:
        left = leave(task, step)
        task, reports = left.task, reports + left.reports
    last = run(task)
    together = Ran(task, last.outcome, reports + last.reports)
    assert together.curve() == whole.curve()
    assert (last.outcome.value, last.outcome.metrics) == (whole.outcome.value, whole.outcome.metrics)
    assert last.outcome.warnings == []
    assert files(task) == files(whole.task)


@pytest.mark.parametrize("steps", [(1,), (2,), (3,), (4,), (6, 2, 1)])
def test_a_trial_that_left_is_the_uninterrupted_one(whole: Ran, tmp_path: Path, steps: tuple[int, ...]) -> None:
    holds_for(whole, tmp_path / "left", *steps)


@pytest.mark.thorough
@pytest.mark.parametrize("config", [GRU, FREE], ids=["Adam", "schedule-free, in parts"])
def test_recurrent_trials_too(frame_data: Path, tmp_path: Path, config: dict[str, Any]) -> None:
    holds_for(run(make_task(frame_data, tmp_path / "whole", config)), tmp_path / "left", 5, 2)


@pytest.mark.thorough
def test_averages_too(data: Path, tmp_path: Path) -> None:
    holds_for(run(make_task(data, tmp_path / "whole", AVERAGED)), tmp_path / "left", 2, 11)


def test_it_leaves_what_is_done_of_the_epoch(whole: Ran, tmp_path: Path) -> None:
    left = leave(replace(whole.task, directory=tmp_path / "left"), 6)
    assert [report.epoch for report in left.reports] == [1]
    assert checkpoints(left.task) == {"epoch-0001.safetensors", "epoch-0001-step-00000002.safetensors"}
    assert log_lines(left.task)[-1]["checkpoint"] == "epoch-0001-step-00000002.safetensors"
    again = run(left.task)
    assert again.outcome.resumed_from == "epoch-0001-step-00000002.safetensors"
    assert not any("step" in name for name in checkpoints(left.task))


@pytest.mark.parametrize("before", [2, 6])
def test_a_part_that_is_damaged_is_passed_over(whole: Ran, tmp_path: Path, before: int) -> None:
    left = leave(replace(whole.task, directory=tmp_path / "left"), before)
    (part,) = (left.task.directory / "checkpoints").glob("*-step-*")
    part.write_bytes(part.read_bytes()[:-1] + b"\x7f")
    again = run(left.task)
    assert f"passed over {part.name}" in again.outcome.warnings[0]
    assert files(left.task) == files(whole.task)


def test_what_another_number_of_workers_left_is_passed_over(whole: Ran, tmp_path: Path) -> None:
    from dmlray.train.resume import find_resume_point

    left = leave(replace(whole.task, directory=tmp_path / "left"), 5)
    folder, lines = left.task.directory / "checkpoints", log_lines(left.task)
    digests = {line["checkpoint"]: line["digest"] for line in lines}
    found = find_resume_point(
        folder, lines[-1]["checkpoint"], digests, left.task.config, fingerprint(folder), workers=2
    )
    assert found.name == "epoch-0001.safetensors"
    assert "was left by 1 workers, 2 are to go on" in found.warnings[0]


def fingerprint(folder: Path) -> str:
    from dmlray.train.checkpoint import load_checkpoint

    path = folder / "epoch-0001.safetensors"
    config = make_task(Path(), Path()).config
    return load_checkpoint(path, None, config).data
