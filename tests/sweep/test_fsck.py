"""Every disagreement between a study and what its sweep left is named, and what is a projection is rebuilt."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dmlray.cli.app import app
from dmlray.data.predictions import load_predictions, save_predictions
from dmlray.errors import BusyError, DataError, StorageError
from dmlray.sweep.fsck import check_files, check_tables
from dmlray.sweep.mirror import SweepMirror
from dmlray.sweep.settings import SweepFolder, load_settings
from dmlray.sweep.study import Study
from tests.sweep.trained import train_sweep

pytestmark = [pytest.mark.thorough, pytest.mark.filterwarnings("default")]  # MLflow's imports warn


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SweepFolder:
    return train_sweep(tmp_path_factory.mktemp("results"), trials=2)


@pytest.fixture
def folder(trained: SweepFolder, tmp_path: Path) -> SweepFolder:
    shutil.copytree(trained.path, tmp_path / "toy")
    return SweepFolder(tmp_path, "toy")


def findings(folder: SweepFolder) -> list[tuple[str, str]]:
    with closing(Study.open(folder.study, read_only=True)) as study:
        trials = study.trials()
        found = [*check_tables(folder.study, trials, study.table_values())]
    found += check_files(folder, load_settings(folder), trials)
    return [(Path(finding.place).name, finding.problem) for finding in found]


def test_a_sweep_that_was_left_alone_agrees(folder: SweepFolder) -> None:
    assert findings(folder) == []


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def other_meta(path: Path) -> None:
    predictions = load_predictions(path)
    object.__setattr__(predictions, "meta", {**predictions.meta, "trial": "7", "data": "other"})
    save_predictions(path, predictions)


def other_videos(path: Path) -> None:
    predictions = load_predictions(path)
    object.__setattr__(predictions, "ids", predictions.ids[::-1])
    save_predictions(path, predictions)


@pytest.mark.parametrize(
    ("file", "damage", "problems"),
    [
        ("checkpoints/epoch-0002.safetensors", flip, ["has the SHA-256 "]),
        ("checkpoints/epoch-0002.safetensors", Path.unlink, ["is missing; the study names it for trial 0"]),
        ("predictions.arrow", flip, ["CRC32C|not a whole file"]),
        ("predictions.arrow", Path.unlink, ["is missing"]),
        ("test_predictions.arrow", Path.unlink, ["is missing"]),
        ("predictions.arrow", other_meta, ["has trial '7', '0' in the study", "has data 'other'"]),
        ("predictions.arrow", other_videos, ["is not of the videos in"]),
    ],
)
def test_damaged_files_are_named(
    folder: SweepFolder, file: str, damage: Callable[[Path], None], problems: list[str]
) -> None:
    path = folder.trial(0) / file
    damage(path)
    found = findings(folder)
    assert [name for name, _ in found] == [path.name] * len(problems)
    for (_, problem), expected in zip(found, problems, strict=True):
        assert any(words in problem for words in expected.split("|"))


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE trial_values SET value = 0.125 WHERE trial_id = 1", "trial 0 has the value 0.125 in Optuna's table"),
        ("DELETE FROM trial_values WHERE trial_id = 2", "trial 1 has the value None in Optuna's table"),
        ("DELETE FROM trial_intermediate_values WHERE step = 1 AND trial_id = 1", "trial 0 has None in Optuna's table"),
        ("UPDATE trial_intermediate_values SET step = 9 WHERE step = 2 AND trial_id = 1", "after epoch 9, None in its"),
    ],
)
def test_tables_that_differ_are_named(folder: SweepFolder, statement: str, problem: str) -> None:
    with closing(sqlite3.connect(folder.study)) as database:
        database.execute(statement)
        database.commit()
    assert any(problem in said for _, said in findings(folder))


def test_other_data_is_named(folder: SweepFolder, tmp_path: Path) -> None:
    settings = folder.settings.read_text()
    data = load_settings(folder).data
    folder.settings.write_text(settings.replace(str(data), str(tmp_path / "gone")))
    assert any(name == "gone" and "cannot be looked at" in problem for name, problem in findings(folder))


def runs_of(folder: SweepFolder) -> sqlite3.Connection:
    return sqlite3.connect(load_settings(folder).tracking_uri.removeprefix("sqlite:///"))


def test_mlflow_is_compared_and_rebuilt(trained: SweepFolder) -> None:
    config = load_settings(trained)
    invoke = [str(word) for word in ("fsck", "toy", "--results", trained.path.parent, "--json")]
    with closing(Study.open(trained.study, read_only=True)) as study:
        trials = study.trials()
    missing = CliRunner().invoke(app, invoke)
    assert isinstance(missing.exception, DataError)
    assert {f["problem"] for f in json.loads(missing.stdout)["findings"]} == {"is missing"}
    with SweepMirror(config, lambda: trials, pytest.fail) as mirror:
        mirror.settle(config)
    whole = CliRunner().invoke(app, invoke)
    assert whole.exception is None, whole.output
    with closing(runs_of(trained)) as database:
        run = database.execute("SELECT run_uuid FROM tags WHERE key = 'dmlray.key' AND value = 'toy/1'").fetchone()[0]
        database.execute("UPDATE runs SET status = 'RUNNING' WHERE run_uuid = ?", (run,))
        database.execute("UPDATE metrics SET value = 2 WHERE run_uuid = ? AND key = 'val_gap' AND step = 1", (run,))
        database.execute("UPDATE params SET value = 'x' WHERE run_uuid = ? AND key = 'epochs'", (run,))
        database.execute("UPDATE tags SET value = 'toy/5' WHERE key = 'dmlray.key' AND value = 'toy/0'")
        database.commit()
    (trained.path / "report.md").write_text("old")
    damaged = CliRunner().invoke(app, invoke)
    said = {f"{f['place']}: {f['problem']}" for f in json.loads(damaged.stdout)["findings"]}
    for words in (
        "MLflow run toy/1: has status RUNNING, not FINISHED",
        "MLflow run toy/1: has parameter epochs 'x', not '2'",
        "MLflow run toy/1: has val_gap 2.0 at step 1, not",
        "MLflow run toy/0: is missing",
        "MLflow run toy/5: is not in the study",
    ):
        assert any(line.startswith(words) for line in said), words
    repaired = CliRunner().invoke(app, [*invoke, "--repair"])
    assert repaired.exception is None, repaired.output
    document = json.loads(repaired.stdout)
    assert (document["findings"], document["trials"]) == ([], 2)
    assert {Path(place).name for place in document["repaired"]} == {"0", "1", "5", "report.md"}
    assert "GAP" in (trained.path / "report.md").read_text()
    (trained.path / "report.md").unlink()


def test_a_damaged_study_is_named_and_nothing_else_is_looked_at(folder: SweepFolder) -> None:
    content = folder.study.read_bytes()
    folder.study.write_bytes(content[:-2048])
    result = CliRunner().invoke(app, ["fsck", "toy", "--results", str(folder.path.parent), "--repair"])
    assert isinstance(result.exception, StorageError)
    assert str(folder.study) in str(result.exception)


def test_a_running_sweep_is_left_alone(folder: SweepFolder) -> None:
    with Study.driven(folder.study, pytest.fail, print):
        result = CliRunner().invoke(app, ["fsck", "toy", "--results", str(folder.path.parent)])
    assert isinstance(result.exception, BusyError)
