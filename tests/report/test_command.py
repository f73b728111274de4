"""`dmlray report` from the command line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dmlray.cli.app import app
from dmlray.cli.report import PAGE, sweep_page
from dmlray.errors import MissingInputError, StorageError
from dmlray.sweep.settings import SweepFolder
from dmlray.sweep.study import Study
from tests.report.sweeps import make_sweep, trained


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    make_sweep(results, trained, 2)
    return results


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was sent to MLflow, which takes seconds to import."""
    sent: list[Path] = []

    class Tracker:
        def __init__(self, uri: str, experiment: str) -> None:
            assert uri.startswith("sqlite:")

        def sync(self, records: list) -> None:
            sent.extend(path for record in records for path in record.artifacts)

    monkeypatch.setattr("dmlray.tracking.Tracker", Tracker)
    return sent


def test_writes_the_page_and_says_where(results: Path, logged: list[Path]) -> None:
    done = CliRunner().invoke(app, ["report", "first", "--results", str(results)], catch_exceptions=False)
    path = results / "first" / "report.html"
    assert done.stdout == f"{path}\n"
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert logged == [path]


def test_writes_where_and_what_it_is_told(results: Path, logged: list[Path]) -> None:
    out = results / "elsewhere" / "page.md"
    arguments = ["report", "first", "--results", str(results), "--format", "md", "--out", str(out)]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert out.read_text(encoding="utf-8").startswith("# Sweep first")
    assert [path.name for path in out.parent.iterdir()] == ["page.md"]


def test_no_such_sweep(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["report", "nowhere", "--results", str(tmp_path)])
    assert isinstance(done.exception, MissingInputError)
    assert done.exception.exit_code == 66
    assert not list(tmp_path.iterdir())


@pytest.mark.thorough
def test_a_damaged_sweep_is_a_page_and_an_exit_code(tmp_path: Path, logged: list[Path]) -> None:
    folder = make_sweep(tmp_path, trained, 2)
    folder.settings.write_text("trials: [")
    done = CliRunner().invoke(app, ["report", "first", "--results", str(tmp_path)])
    assert isinstance(done.exception, StorageError)
    assert done.exception.exit_code == 74
    assert done.stdout == f"{folder.path / 'report.html'}\n"
    assert "The sweep is damaged" in (folder.path / "report.html").read_text(encoding="utf-8")
    assert logged == []


def test_a_page_that_cannot_be_made_is_one_line(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise ValueError("no room\nfor the axes")

    monkeypatch.setattr("dmlray.report.page.build_report", broken)
    said: list[str] = []
    assert sweep_page(SweepFolder(results, "first"), said.append) is None
    again = f"dmlray report first --results {results}"
    assert said == [f"the report could not be made, `{again}` tries again: ValueError: no room"]


def test_a_sweep_that_runs_gets_its_page_from_its_driver(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, trained, 1, wanted=2)
    with Study.driven(folder.study, pytest.fail, pytest.fail):
        assert sweep_page(folder, pytest.fail) is None
    assert not (folder.path / PAGE).exists()


@pytest.mark.thorough
def test_pictures_are_logged_as_a_folder(results: Path, logged: list[Path]) -> None:
    CliRunner().invoke(app, ["report", "first", "--results", str(results), "--format", "png"], catch_exceptions=False)
    assert logged == [results / "first/pictures"]


@pytest.mark.thorough
def test_pictures_alone(results: Path, logged: list[Path]) -> None:
    out = results / "pictures"
    out.mkdir()
    (out / "99-of-an-earlier-report.png").write_bytes(b"stale")
    (out / "mine.png").write_bytes(b"kept")
    arguments = ["report", "first", "--results", str(results), "--format", "png", "--out", str(out)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.stdout == f"{out}\n"
    names = sorted(path.name for path in out.iterdir())
    assert names[0] == "01-gap-by-trial.png"
    assert "99-of-an-earlier-report.png" not in names
    assert "mine.png" in names
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in names if name != "mine.png")
    assert logged == []
