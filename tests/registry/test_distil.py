"""How much of an ensemble's gain a student keeps; and the whole command, with Ray."""

import json
from pathlib import Path

import numpy as np
import pytest

from dmlray.data.predictions import load_predictions
from dmlray.ensemble.candidates import Candidate, load_candidates
from dmlray.ensemble.parts import gap_on, split_videos
from dmlray.ensemble.report import EnsembleReport
from dmlray.errors import UsageError
from dmlray.registry import load_package
from dmlray.registry.distil import report_distillation
from dmlray.registry.export import load_report
from dmlray.sweep.settings import SweepFolder
from tests.registry.conftest import package_of
from tests.registry.sweeps import VIDEO_MODELS

SPACE = """
trials: 1
stopping: {rule: none}
space: {epochs: 2, batch_size: 16, optimizer: {kind: adam, learning_rate: {float: [0.05, 0.1]}}}
"""


@pytest.fixture
def report(video_sweep: SweepFolder) -> EnsembleReport:
    return load_report(video_sweep.ensemble("top5"))


def students(sweep: SweepFolder) -> list[Candidate]:
    return load_candidates((number, f"model {number}", sweep.trial(number)) for number in range(len(VIDEO_MODELS)))


def test_the_best_student_on_the_selection_part_is_compared(video_sweep: SweepFolder, report: EnsembleReport) -> None:
    """The students here are the sweep's own trials: the best of them is the best single trial, and keeps nothing."""
    package = load_package(package_of(video_sweep))
    found = report_distillation(report, package, "st", students(video_sweep), {0: 10, 1: 11, 2: 12})
    chosen, reported = split_videos(students(video_sweep)[0].validation.ids, 0.5)
    assert found.student == report.best_single
    assert found.student_parameters == 10 + report.best_single
    assert found.kept["report"].videos == len(reported)
    for part, kept in found.kept.items():
        assert kept.best_single == pytest.approx(getattr(report.figures["best_single"], part))
        assert kept.student == pytest.approx(kept.best_single)
        assert kept.share is None or kept.share == pytest.approx(0, abs=1e-6)
    gaps = [gap_on(student.validation, chosen) for student in students(video_sweep)]
    assert found.student == int(np.argmax(gaps))


@pytest.mark.parametrize(("single", "ensemble", "share"), [(0.0, 0.5, "whole"), (0.9, 0.5, None)])
def test_a_share_is_that_of_the_gain(
    single: float, ensemble: float, share: str | None, video_sweep: SweepFolder, report: EnsembleReport
) -> None:
    figures = dict(report.figures)
    figures["best_single"] = figures["best_single"].model_copy(update={"test": single})
    figures["ensemble"] = figures["ensemble"].model_copy(update={"test": ensemble})
    changed = report.model_copy(update={"figures": figures})
    package = load_package(package_of(video_sweep))
    kept = report_distillation(changed, package, "st", students(video_sweep), dict.fromkeys(range(3), 1)).kept["test"]
    assert kept.share == (None if share is None else pytest.approx((kept.student - single) / (ensemble - single)))


def test_without_a_student(video_sweep: SweepFolder, report: EnsembleReport) -> None:
    with pytest.raises(UsageError, match="no finished student"):
        report_distillation(report, load_package(package_of(video_sweep)), "st", [], {})


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # SQLAlchemy, of MLflow's models
def test_the_command(
    ray_session: None, video_sweep: SweepFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.main import get_command

    from dmlray.cli.app import app
    from tests.registry.test_publish import own_copy

    sweep = own_copy(video_sweep, tmp_path)
    (tmp_path / "space.yaml").write_text(SPACE)
    words = ["distil", "--ensemble", "first", "--space", str(tmp_path / "space.yaml"), "--name", "st"]
    words += ["--results", str(sweep.path.parent), "--json"]
    get_command(app)(words, standalone_mode=False)
    document = json.loads(capsys.readouterr().out)
    assert document["student"] == 0
    assert set(document["kept"]) == {"report", "test"}
    (labels,) = sweep.ensemble("top5").glob("train-*")
    config = json.loads((sweep.path.parent / "st/trials/0000/config.json").read_text())
    assert config["loss"]["distillation"]["predictions"] == str(labels)
    assert len(load_predictions(labels / "part-00000.arrow")) == 48
    get_command(app)(words, standalone_mode=False)  # again: nothing is left to do, the same is said
    assert json.loads(capsys.readouterr().out) == document
