"""The report goes into the sweep's MLflow run by itself: when its search ends, and when an ensemble is chosen."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dmlray.cli.app import app
from tests.data.videos import VIDEO
from tests.sweep.trained import train_here
from tests.train.trials import write_data

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader"),  # SQLAlchemy, of MLflow's models
]
SPACE = "trials: 2\nspace: {epochs: 1, optimizer: {kind: adam, learning_rate: {float: [0.05, 0.2]}}}\n"


def dmlray(results: Path, *words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words), "--results", str(results)])


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results with one sweep, as `dmlray search` leaves it."""
    monkeypatch.setattr("dmlray.sweep.session.run_sweep", partial(train_here, [1] * 9))
    (tmp_path / "space.yaml").write_text(SPACE)
    words = ["search", "--data", write_data(tmp_path / "data", VIDEO), "--space", tmp_path / "space.yaml"]
    done = dmlray(tmp_path / "results", *words, "--name", "first")
    assert done.exit_code == 0, done.stderr
    assert f"report: {tmp_path}/results/first/report.html" in done.stderr
    return tmp_path / "results"


def logged_page(results: Path) -> str:
    """The report as the sweep's run has it."""
    from mlflow import MlflowClient

    client: Any = MlflowClient(f"sqlite:///{results / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("dmlray").experiment_id
    (run,) = client.search_runs([experiment], "tags.`dmlray.key` = 'first'")
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.html"]
    return Path(client.download_artifacts(run.info.run_id, "report.html")).read_text(encoding="utf-8")


def test_search_and_ensemble_log_it(results: Path) -> None:
    page = (results / "first" / "report.html").read_text(encoding="utf-8")
    assert "2 of 2" in page
    assert logged_page(results) == page
    done = dmlray(results, "ensemble", "first", "--top", 2, "--from-stores")
    assert done.exit_code == 0, done.stderr
    assert "ensemble top2" in logged_page(results)


def test_what_cannot_be_logged_spoils_nothing(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise ValueError("no room for the axes")

    monkeypatch.setattr("dmlray.report.page.build_report", broken)
    (results / "mlflow.db").write_bytes(b"this is no database")
    done = dmlray(results, "ensemble", "first", "--top", 2, "--from-stores")
    assert done.exit_code == 0, done.stderr
    assert "ways to combine" in done.stdout
    page, run = done.stderr.splitlines()
    assert page.endswith("tries again: ValueError: no room for the axes")
    assert run.startswith("the ensemble is not in MLflow, the same command sends it again: MLflow at sqlite:///")
    again = dmlray(results, "search", "--resume", "first")
    assert again.exit_code == 0, again.stderr
    assert "the report could not be made" in again.stderr
    assert "not up to date in MLflow" in again.stderr
