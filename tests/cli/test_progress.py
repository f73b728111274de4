"""What a sweep says while it runs."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from dmlray.cli.progress import SweepProgress, event_line, span, summary_line
from dmlray.config import TrialConfig
from dmlray.sweep.director import Change
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.summary import Summary, summarize

CONFIG = TrialConfig(epochs=4).model_dump(mode="json")
TRIAL = TrialRecord(3, TrialState.running, {}, CONFIG, curve=((1, {"val_gap": 0.25}), (2, {"val_gap": 0.5})))
FAILED = TrialRecord(1, TrialState.failed, {}, CONFIG, reason="nan", message="epoch 1: [red]the loss[/red] is nan")


@pytest.mark.parametrize(
    ("what", "trial", "line"),
    [
        ("epoch", TRIAL, "trial   3 epoch     epoch 2/4  val_gap 0.5000"),
        ("continued", TRIAL, "trial   3 continued mean concat after epoch 2"),
        (
            "complete",
            replace(TRIAL, value=0.5, best_epoch=2, metrics={"test_gap": 0.4}),
            "trial   3 complete  epoch 2/4  val_gap 0.5000  best 0.5000 at epoch 2  test_gap 0.4000",
        ),
        ("failed", FAILED, "trial   1 failed    nan: epoch 1: [red]the loss[/red] is nan"),
    ],
)
def test_an_event_is_one_line(what: str, trial: TrialRecord, line: str) -> None:
    assert event_line(Change(what, trial)) == line


def test_the_summary_says_how_far_and_how_good() -> None:
    assert (
        summary_line(summarize([TRIAL, FAILED], wanted=8))
        == "0 done, 1 running, 0 stopped early, 1 failed of 8; best GAP 0.5000 (trial 3)"
    )
    assert summary_line(Summary(8, 2, 0, 0, 1, TRIAL, 200.0)).endswith("about 3 min 20 s left")


@pytest.mark.parametrize(("seconds", "text"), [(42.4, "42 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_spans_are_for_people(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_elsewhere_than_on_a_terminal_each_event_is_one_plain_line() -> None:
    file = io.StringIO()
    with SweepProgress(Console(file=file, width=40)) as progress:
        progress.show(Change("failed", FAILED), summarize([FAILED], wanted=8))
        progress.show(Change("epoch", TRIAL), summarize([TRIAL], wanted=8))
    lines = file.getvalue().splitlines()
    assert len(lines) == 2
    assert "[red]the loss[/red]" in lines[0]
    assert "\x1b" not in file.getvalue()


def test_on_a_terminal_a_live_line_stays_below() -> None:
    file = io.StringIO()
    with SweepProgress(Console(file=file, force_terminal=True, width=200)) as progress:
        progress.show(Change("epoch", TRIAL), summarize([TRIAL], wanted=8))
    assert "1 running" in file.getvalue()
    assert "trial   3 epoch" not in file.getvalue(), "epochs move the live line only"


def test_a_trial_that_is_tried_again_says_why() -> None:
    line = event_line(Change("retried", TRIAL, "worker_lost: the actor died"))
    assert line == "trial   3 retried   it will be tried again: worker_lost: the actor died"
