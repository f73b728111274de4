"""Trials cut off at any epoch, with any of their files damaged, end as if they had run through."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.train.trials import GRU, LOGISTIC, Ran, checkpoints, files, log_lines, logged_epochs, make_task, run

DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "flipped": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x7f"),
    "pickle": lambda path: path.write_bytes(b"\x80\x04N."),
    "missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("stop_after", [1, 4])
def test_resumed_trial_is_the_uninterrupted_one(whole: Ran, tmp_path: Path, stop_after: int) -> None:
    _holds_for(whole, tmp_path, stop_after)


def test_recurrent_trial_too(frame_data: Path, tmp_path: Path) -> None:
    _holds_for(run(make_task(frame_data, tmp_path / "whole", GRU)), tmp_path / "cut", stop_after=2)


def _holds_for(whole: Ran, directory: Path, stop_after: int) -> None:
    first = run(replace(whole.task, directory=directory), stop_after)
    second = run(first.resumed())
    assert [report.epoch for report in second.reports] == list(range(stop_after + 1, whole.task.config.epochs + 1))
    assert first.curve() + second.curve() == whole.curve()
    assert second.outcome == replace(whole.outcome, resumed_from=first.reports[-1].checkpoint)
    assert files(first.task) == files(whole.task)
    assert logged_epochs(first.task) == logged_epochs(whole.task)


def test_cut_off_after_its_last_report_it_only_finishes(own_whole: Ran) -> None:
    left = files(own_whole.task)
    for name in ("test_predictions.arrow", "predictions.arrow"):
        (own_whole.task.directory / name).unlink()
    again = run(own_whole.resumed())
    assert again.reports == []
    assert again.outcome == replace(own_whole.outcome, resumed_from=own_whole.reports[-1].checkpoint)
    assert files(own_whole.task) == left


def test_predictions_of_an_epoch_that_was_lost_are_written_again(own_whole: Ran, cut: Ran) -> None:
    path = own_whole.task.directory / "predictions.arrow"
    expected = path.read_bytes()
    run(replace(cut.task, directory=cut.task.directory, seed=5), stop_after=1)  # another trial's, whole and valid
    path.write_bytes((cut.task.directory / "predictions.arrow").read_bytes())
    assert path.read_bytes() != expected
    run(own_whole.resumed())
    assert path.read_bytes() == expected


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_falls_back_to_the_one_before(whole: Ran, cut: Ran, damage: str) -> None:
    DAMAGES[damage](cut.task.directory / "checkpoints" / cut.reports[-1].checkpoint)
    again = run(cut.resumed())
    assert [report.epoch for report in again.reports] == [3, 4, 5]
    assert again.outcome.resumed_from == "epoch-0002.safetensors"
    (warning,) = again.outcome.warnings
    assert "passed over epoch-0003.safetensors" in warning
    assert (again.outcome.value, again.outcome.metrics) == (whole.outcome.value, whole.outcome.metrics)
    assert files(cut.task) == files(whole.task)
    assert logged_epochs(cut.task) == [1, 2, 3, 4, 5]
    assert [line["warning"] for line in log_lines(cut.task) if "warning" in line] == [warning]


def test_starts_again_when_no_checkpoint_is_good(whole: Ran, cut: Ran) -> None:
    for name in checkpoints(cut.task):
        (cut.task.directory / "checkpoints" / name).write_bytes(b"")
    again = run(cut.resumed())
    assert [report.epoch for report in again.reports] == [1, 2, 3, 4, 5]
    assert again.outcome.resumed_from is None
    assert again.outcome.warnings[-1] == "no checkpoint is good: training starts again from the first epoch"
    assert files(cut.task) == files(whole.task)


def test_checkpoint_of_another_configuration_is_passed_over(cut: Ran) -> None:
    other = replace(cut.resumed(), config=make_task(Path(), Path(), {**LOGISTIC, "batch_size": 32}).config)
    again = run(other, stop_after=1)
    assert again.outcome.resumed_from is None
    assert "of another configuration: `batch_size` is 16 there and 32 here" in again.outcome.warnings[0]


def test_checkpoint_whose_best_epoch_is_lost_is_passed_over(worsening: Ran) -> None:
    best = worsening.reports[worsening.outcome.best_epoch - 1]
    (worsening.task.directory / "checkpoints" / best.checkpoint).unlink()
    again = run(worsening.resumed())
    assert again.outcome.resumed_from is None
    assert len(again.reports) == 5
    assert (again.outcome.value, again.outcome.metrics) == (worsening.outcome.value, worsening.outcome.metrics)


@pytest.mark.parametrize("torn", [b'{"epoch": 3, "metr', b"\xff\xfe\n", b"[1]\n"])
def test_torn_log_is_mended(cut: Ran, torn: bytes) -> None:
    with (cut.task.directory / "log.jsonl").open("ab") as file:
        file.write(torn)
    run(cut.resumed(), stop_after=4)
    assert logged_epochs(cut.task) == [1, 2, 3, 4]
