"""What is refused is refused in our words, not in those of the libraries beneath."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from dmlray.cli.app import app
from dmlray.config import TrialConfig
from dmlray.config.problem import first_problem
from dmlray.data.schema import load_schema
from dmlray.errors import ConfigError, MissingInputError, UnavailableError
from dmlray.sweep.settings import SweepConfig, SweepFolder, save_settings

SCHEMA = """
level: frame
modalities:
- {name: visual, feature: rgb, width: 4, dtype: uint8}
classes: 3
"""


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["ensemble", "first", "--precision", "int4"], "'--precision': 'int4' is not one of 'float32'"),
        (["search", "--sampler", "guess"], "'--sampler': 'guess' is not one of 'tpe'"),
        (["search", "--trials", "0"], "'--trials': 20 or, with --resume NAME, +20 for 20 more, got '0'"),
    ],
)
def test_an_option_says_what_it_takes(words: list[str], problem: str) -> None:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert f"Invalid value for {problem}" in done.stderr


def test_a_pattern_without_quotes_is_told_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.tfrecord", "b.tfrecord"):
        Path(name).touch()
    words = ["predict", "--ensemble", "first", "--data", "a.tfrecord", "b.tfrecord", "--out", "x.csv"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "One name too many, 'b.tfrecord': a pattern needs quotes, as in --data 'shards/*'" in done.stderr
    done = CliRunner().invoke(app, ["status", "first", "secnd", "third"])
    assert done.exit_code == 2
    assert "Nothing goes by 'secnd' 'third' here" in done.stderr


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ("classes: 3", "", "classes must be given, got None"),
        ("classes: 3", "classes: 0", "classes must be greater than 0, got 0"),
        ("classes: 3", "classes: 3\nclases: 4", "clases must be left out: nothing is called that, got 4"),
        ("name: visual", "name: id", "the schema must be right: modality names must differ from each other, from `id`"),
    ],
)
def test_a_schema_says_what_it_needs(tmp_path: Path, before: str, after: str, problem: str) -> None:
    (tmp_path / "schema.yaml").write_text(SCHEMA.replace(before, after))
    with pytest.raises(ConfigError) as refused:
        load_schema(str(tmp_path / "schema.yaml"))
    assert str(refused.value).startswith(f"{tmp_path}/schema.yaml: {problem}")


def test_a_problem_names_its_place() -> None:
    with pytest.raises(ValueError, match="validation error") as error:
        TrialConfig.model_validate({"frames": {"select": "all", "count": 3}})
    found = first_problem(error.value)  # type: ignore[arg-type]
    assert (found.field, found.said) == ("frames", "`count` goes with every selection but `all`")


@pytest.mark.thorough
def test_a_ray_that_does_not_start_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray raises Exception itself where its node does not come up in time."""
    import ray

    from dmlray.cluster import ray_cluster

    def fail(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nSee the logs.")

    monkeypatch.setattr(ray, "init", fail)
    with (
        pytest.raises(UnavailableError, match=r"^Ray could not be started here: The current node timed out during"),
        ray_cluster("local"),
    ):
        pass


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["top", "frist"], "results/frist: no sweep (results has first) here"),
        (["predict", "--ensemble", "frist", "--data", "x", "--out", "y.csv"], "results/frist: no sweep (results has"),
        (["publish", "first"], "results/first/ensemble: no ensemble (`dmlray ensemble` chooses one) here"),
        (["evaluate", "nothing.csv"], "nothing.csv: no predictions here"),
    ],
)
def test_what_is_not_there_is_told_with_what_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    config = SweepConfig(name="first", data=tmp_path, fingerprints={}, trials=1, tracking_uri="")
    save_settings(SweepFolder(Path("results"), "first"), config)
    missing = CliRunner().invoke(app, words).exception
    assert isinstance(missing, MissingInputError)
    assert str(missing).startswith(problem)
