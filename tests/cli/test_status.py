"""`dmlray status`: the document that programs read, and what a watcher is told."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dmlray.cli import status as module
from dmlray.cli.app import app
from dmlray.cli.status import news
from dmlray.ensemble.live_steps import LIVE_FILE
from dmlray.errors import UsageError
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.settings import SweepFolder
from dmlray.sweep.study import Study
from tests.report.sweeps import failing, make_sweep, trained

POINT = {"val_gap": 0.5}
WAITING = TrialRecord(0, TrialState.waiting, {}, {"epochs": 2})
STARTED = replace(WAITING, state=TrialState.running, attempts=1)
REPORTED = replace(STARTED, curve=((1, POINT),), checkpoints=(("c", "d"),))
RESUMED = replace(REPORTED, attempts=2)
ENDED = replace(RESUMED, state=TrialState.complete, value=0.5)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (None, WAITING, []),
        (WAITING, STARTED, ["started"]),
        (STARTED, STARTED, []),
        (STARTED, REPORTED, ["epoch"]),
        (WAITING, REPORTED, ["started", "epoch"]),
        (REPORTED, RESUMED, ["continued"]),
        (RESUMED, ENDED, ["complete"]),
        (None, ENDED, ["complete"]),
        (ENDED, ENDED, []),
    ],
)
def test_a_watcher_is_told_what_is_new(before: TrialRecord | None, after: TrialRecord, words: list[str]) -> None:
    assert [change.what for change in news({0: before} if before else {}, [after])] == words


def invoke(folder: SweepFolder, *options: str) -> str:
    result = CliRunner().invoke(app, ["status", "first", "--results", str(folder.path.parent), *options])
    assert result.exception is None, result.output
    return result.stdout


def test_the_document(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, failing, 1, wanted=3)
    document = json.loads(invoke(folder, "--json"))
    (trial,) = document.pop("trials")
    assert document == {
        "version": 1,
        "sweep": "first",
        "state": "interrupted",
        "ended_by": None,
        "wanted": 3,
        "complete": 0,
        "pruned": 0,
        "failed": 1,
        "running": 0,
        "left_s": document["left_s"],
    }
    assert (trial["reason"], trial["message"]) == ("data", "train/shard-00000.arrow is damaged")
    assert (trial["attempts"], trial["retries"], trial["epochs"]) == (1, {}, 0)
    assert "go on with: dmlray search --resume first" in invoke(folder)


def test_watching_ends_with_the_sweep_and_prints_plain_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_sweep(tmp_path, lambda study, trial: study.start(trial.number), 1)
    with Study.driven(folder.study, pytest.fail, print) as study:

        def go_on(seconds: float) -> None:
            trained(study, study.trials()[0])

        monkeypatch.setattr(module.time, "sleep", go_on)
        lines = invoke(folder, "--watch").splitlines()
    assert lines[0].startswith("trial   0 started")
    assert lines[1].startswith("trial   0 complete  epoch 4/4")
    assert lines[2].startswith("first: finished by its 1 trials; 1 done, 0 running")


def test_a_sweep_that_does_not_run_is_shown_once(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, trained, 2, wanted=3)
    with closing(Study.open(folder.study, read_only=True)) as study:
        assert not study.is_driven()
    assert invoke(folder, "--watch").startswith("first: interrupted; 2 done")


def test_watching_is_for_people(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["status", "first", "--results", str(tmp_path), "--watch", "--json"])
    assert isinstance(result.exception, UsageError)


def test_the_ensemble_so_far_is_told(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, trained, 3)
    assert "ensemble" not in invoke(folder)
    step = {"trial": 2, "picks": {"0": 1, "2": 3}, "gap": 0.61, "changed": True}
    (folder.path / LIVE_FILE).write_text(json.dumps([step]))
    assert "best small ensemble so far: GAP 0.6100 of trials 0, 2; trial 2 changed it last\n" in invoke(folder)
    (folder.path / LIVE_FILE).write_text("[")  # it is only being told of
    assert "ensemble" not in invoke(folder)
