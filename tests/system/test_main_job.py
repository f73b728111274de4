"""The main job as a user does it, through the installed command, with a Ctrl-C in the middle."""

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.system.conftest import Answer, finish, start

SPACE = Path(__file__).parents[2] / "search_spaces" / "smoke.yaml"
TRIALS = 4


def run(folder: Path, *words: object) -> Answer:
    answer = finish(start(folder, *words))
    assert answer.code == 0, answer.err
    return answer


def document(folder: Path, *words: object) -> Any:
    return json.loads(run(folder, *words, "--json").out)


def interrupt_after(process: "subprocess.Popen[str]", word: str) -> Answer:
    """Press Ctrl-C once ``word`` has been said."""
    said = []
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if word in line:
            break
    process.send_signal(signal.SIGINT)
    answer = finish(process)
    return Answer(answer.code, answer.out, "".join(said) + answer.err)


def mlflow_runs(folder: Path) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'results/mlflow.db'}")
    experiment = client.get_experiment_by_name("dmlray")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # SQLAlchemy, of MLflow's models
def test_from_features_to_an_ensemble(tmp_path: Path) -> None:
    shutil.copy(SPACE, tmp_path / "space.yaml")
    run(tmp_path, "synth", "tf", "--train", 300, "--validation", 120, "--test", 80, "--max-frames", 20, "--classes", 16)
    converted = document(tmp_path, "convert", "tf", "--out", "data")
    assert {name: split["videos"] for name, split in converted["splits"].items()} == {
        "train": 300,
        "validation": 120,
        "test": 80,
    }
    search = ("search", "--data", "data", "--space", "space.yaml", "--name", "job", "--trials", TRIALS)
    search += ("--set", "space.epochs=3", "--set", "stopping.rule=none")
    interrupted = interrupt_after(start(tmp_path, *search), "epoch 1/3")
    assert interrupted.code == 75, interrupted.err
    assert "dmlray search --resume job" in interrupted.err
    assert "Traceback" not in interrupted.err
    status = document(tmp_path, "status", "job")
    assert status["state"] == "interrupted"

    run(tmp_path, "search", "--resume", "job")
    status = document(tmp_path, "status", "job")
    assert (status["state"], status["complete"]) == ("finished", TRIALS)
    assert [trial["trial"] for trial in status["trials"]] == list(range(TRIALS))
    for number in range(TRIALS):  # each epoch was trained and logged once, whatever the interruption
        log = (tmp_path / f"results/job/trials/{number:04d}/log.jsonl").read_text().splitlines()
        epochs = [line["epoch"] for line in map(json.loads, log) if "epoch" in line]
        assert epochs == [1, 2, 3]
        left = list((tmp_path / f"results/job/trials/{number:04d}/checkpoints").iterdir())
        assert len(left) == 1, "of a trial that has ended the best checkpoint is left"

    best = document(tmp_path, "top", "job", "-n", 1)["trials"][0]
    ensemble = document(tmp_path, "ensemble", "job", "--top", 3)
    assert sum(member["weight"] for member in ensemble["members"]) == pytest.approx(1)
    assert ensemble["videos"]["selection"] + ensemble["videos"]["report"] == 120
    assert ensemble["figures"]["ensemble"]["selection"] >= ensemble["figures"]["best_single"]["selection"]
    assert 0 < best["test_gap"] <= 1

    runs = mlflow_runs(tmp_path)
    names = {run.data.tags["mlflow.runName"] for run in runs}
    assert len(runs) == 1 + TRIALS + 1, "the sweep, its trials, the ensemble: none twice"
    assert {"job", "ensemble top3"} <= names
    (logged,) = [run for run in runs if run.data.tags.get("dmlray.trial") == str(best["trial"])]
    assert logged.data.metrics["best_val_gap"] == pytest.approx(best["val_gap"])
    assert {run.info.status for run in runs} == {"FINISHED"}
