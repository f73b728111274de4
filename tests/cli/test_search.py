"""`dmlray search`: what a sweep is made from, and what is asked of it in vain."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dmlray.cli.app import app
from dmlray.cluster_jobs import Cluster
from dmlray.errors import ConfigError, SweepExistsError, UsageError
from dmlray.sweep.settings import SweepConfig, SweepFolder
from dmlray.sweep.space import load_space
from tests.cluster.test_jobs import FakeHead
from tests.data.videos import VIDEO
from tests.train.trials import write_data

SPACE = "trials: 1\nspace: {epochs: 1, optimizer: {kind: adam, learning_rate: {float: [0.01, 0.1]}}}\n"
Begun = list[tuple[SweepFolder, SweepConfig]]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Begun:
    """Sweeps that would have been run; there are data in `data` and a space in `mine.yaml`."""
    found: Begun = []
    monkeypatch.setattr("dmlray.cli.run.run_shown", lambda folder, config, *_, **__: found.append((folder, config)))
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data", VIDEO)
    Path("mine.yaml").write_text(SPACE)
    return found


def search(*words: str) -> None:
    done = CliRunner().invoke(app, ["search", *words])
    if done.exception is not None:
        raise done.exception


def test_a_space_that_names_its_data_is_all_there_is_to_say(begun: Begun) -> None:
    Path("mine.yaml").write_text(f"data: data\n{SPACE}")
    search("mine.yaml")
    search("--space", "mine.yaml", "--name", "other", "--data", str(Path("data").absolute()))
    assert [config.name for _, config in begun] == ["mine", "other"]
    assert {config.data for _, config in begun} == {Path("data").absolute()}
    assert load_space(begun[0][0].space).data == "data"
    with pytest.raises(SweepExistsError, match="choose another --name, or go on with `dmlray search --resume mine`"):
        search("mine.yaml")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "a new sweep needs the file of its space"),
        (["mine.yaml"], "a new sweep needs --data FOLDER, or `data: FOLDER` in mine.yaml"),
        (["mine.yaml", "--space", "other.yaml"], "the space is given twice, mine.yaml and --space other.yaml"),
        (["mine.yaml", "--data", "data", "--retry-failed"], "--retry-failed goes with --resume NAME"),
        (["mine.yaml", "--data", "data", "--set", "epochs"], "--set takes A.B=C"),
        (["mine.yaml", "--data", "data", "--grid", "--sampler", "tpe"], "--grid leaves nothing to --sampler tpe"),
        (["mine.yaml", "--resume", "first"], "--space was settled when sweep first began"),
        (["mine.yaml", "--replay", "first"], "--space has no meaning with --replay"),
        (["--replay", "first", "--hours", "1"], "--hours has no meaning with --replay"),
        (["mine.yaml", "--data", "data", "--gap", "0.5"], "--gap goes with --replay NAME"),
    ],
)
def test_what_does_not_go_together_is_refused(begun: Begun, words: list[str], problem: str) -> None:
    with pytest.raises(UsageError) as refused:
        search(*words)
    assert str(refused.value).startswith(problem)
    assert not begun
    assert not Path("results").exists()


def test_what_the_cluster_runs_names_places_there(begun: Begun, monkeypatch: pytest.MonkeyPatch) -> None:
    head = FakeHead()
    monkeypatch.setattr("dmlray.cluster_jobs.connect", lambda address, insecure: Cluster(address, head))
    Path("mine.yaml").write_text(f"data: data\n{SPACE}")
    with pytest.raises(UsageError, match="--data data must be a place that the cluster's nodes see"):
        search("mine.yaml", "--submit")
    Path("mine.yaml").write_text(f"data: s3://bucket/data\n{SPACE}")
    search("mine.yaml", "--submit")
    (job,) = head.jobs
    assert job.entrypoint.startswith("exec python -m dmlray search --space space.yaml --name mine --results")


def test_a_file_whose_name_is_no_sweeps(begun: Begun) -> None:
    Path("my space.yaml").write_text(SPACE)
    with pytest.raises(ConfigError, match="--name must be 1 to 64 letters"):
        search("my space.yaml", "--data", "data")
