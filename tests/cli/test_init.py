"""`dmlray init`: what it writes loads, can be built for the data, and stays within what was asked for."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from dmlray.cli.app import app
from dmlray.cli.survey import proposed_rules
from dmlray.config import TrialConfig
from dmlray.data.manifest import SourceFile
from dmlray.data.schema import PRESETS, Modality, Schema
from dmlray.data.synthetic import SynthSpec, synthesize
from dmlray.errors import MissingInputError, SweepExistsError, UsageError
from dmlray.model.build import check_buildable
from dmlray.sweep.proposal import Asked, Facts, propose
from dmlray.sweep.space import json_schema, load_space
from dmlray.sweep.yaml_lines import parse_yaml
from tests.data.videos import VIDEO, random_block, write_dataset
from tests.sweep.spaces import RandomSuggester


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    """Any data set."""
    level = draw(st.sampled_from(["frame", "video"]))
    dtype = "uint8" if level == "frame" else "float32"
    names = draw(st.lists(st.sampled_from(["visual", "audio", "flow"]), min_size=1, max_size=3, unique=True))
    width = st.integers(1, 2048)
    modalities = tuple(Modality(name=name, feature=f"{name}_", width=draw(width), dtype=dtype) for name in names)
    schema = Schema(
        level=level,
        modalities=modalities,
        classes=draw(st.integers(1, 5000)),
        max_frames=draw(st.integers(1, 400)),
    )
    videos = draw(st.sampled_from([{}, {"train": 12}, {"train": 50_000}, {"train": 5_000_000}]))
    return Facts(schema, videos, has_gpu=draw(st.booleans()))


@pytest.mark.thorough
@settings(deadline=None, max_examples=20)
@given(found=facts(), seed=st.integers(0, 99))
def test_every_proposal_loads_and_can_be_built(
    tmp_path_factory: pytest.TempPathFactory, found: Facts, seed: int
) -> None:
    path = tmp_path_factory.mktemp("init") / "sweep.yaml"
    text = propose(found, Asked(), "Made for a test\n\nThen: search")
    path.write_text(text)
    space = load_space(path)
    check_buildable(TrialConfig.model_validate(space.suggest(RandomSuggester(seed))), found.schema)
    assert Draft202012Validator(json_schema()).is_valid(parse_yaml(text, "sweep.yaml").plain())
    assert space.trials == (30 if found.has_gpu else 12)
    assert all(len(line) <= 120 for line in text.splitlines() if "description" not in line)


def test_sizes_follow_the_data() -> None:
    def text(train: int, has_gpu: bool = False) -> str:
        return propose(Facts(PRESETS["yt8m-frame"], {"train": train}, has_gpu), Asked(), "head")

    assert "hidden: {int: [16, 48], step: 16}" in text(1000)
    assert "hidden: {int: [64, 192], step: 64}" in text(50_000)
    assert "hidden: {choice: [256, 512, 1024]}" in text(5_000_000, has_gpu=True)
    assert "batch_size: {choice: [16, 32]}" in text(1000)
    assert "uniform: {count: {choice: [60, 150]}}" in text(1000)


def test_one_modality_is_not_fused_early() -> None:
    text = propose(Facts(PRESETS["audioset"], {"train": 9000}, has_gpu=False), Asked(), "head")
    assert "early" not in text
    assert "frames:" in text


@pytest.mark.parametrize(
    ("asked", "trials"), [(Asked(), 12), (Asked(trials=3), 3), (Asked(hours=2), 1000), (Asked(trials=3, hours=2), 3)]
)
def test_the_budget(asked: Asked, trials: int) -> None:
    assert f"\ntrials: {trials}" in propose(Facts(PRESETS["audioset"], {}, has_gpu=False), asked, "head")


def files(*names: str) -> list[SourceFile]:
    return [SourceFile(name=name, size=1) for name in names]


def test_splits_are_proposed_where_names_tell() -> None:
    flat = files("train0.tfrecord", "validate0.tfrecord", "test0.tfrecord")
    assert proposed_rules(flat) == ["train=train*", "validation=valid*", "test=test*"]
    assert proposed_rules(files("a.tfrecord", "b.tfrecord")) == []
    assert proposed_rules(files("train/0.tfrecord", "validation/0.tfrecord")) == []
    assert proposed_rules(files("train0.tfrecord", "train1.tfrecord")) == []


def invoke(*words: object) -> str:
    """What the command says on stderr."""
    done = CliRunner().invoke(app, ["init", *map(str, words)])
    if done.exception is not None:
        raise done.exception
    return done.stderr


def test_from_tfrecords_to_the_next_commands(tmp_path: Path) -> None:
    synthesize(tmp_path / "tf", SynthSpec(train=30, validation=10, test=5, shards=1, max_frames=5))
    out = tmp_path / "mine.yaml"
    said = invoke(tmp_path / "tf", "--out", out, "--cpu", "--hours", "0.5", "--results", tmp_path)
    target = tmp_path / "data" / "tf"
    assert f"next: dmlray convert {tmp_path / 'tf'} --out {target}\n" in said
    assert f"next: dmlray search {out} --hours 0.5\n" in said
    assert (load_space(out).trials, load_space(out).data) == (1000, str(target))
    assert "# about 30 train" in out.read_text()
    before = out.read_bytes()
    with pytest.raises(SweepExistsError, match="is there already"):
        invoke(tmp_path / "tf", "--out", out)
    assert out.read_bytes() == before


def test_from_a_converted_data_set(tmp_path: Path) -> None:
    for split, count in (("train", 20), ("validation", 10)):
        write_dataset(tmp_path / "data", VIDEO, [[random_block(VIDEO, count)]], split)
    out = tmp_path / "sweep.yaml"
    said = invoke(tmp_path / "data", "--out", out, "--cpu", "--trials", "3")
    assert "dmlray convert" not in said
    assert "20 train, 10 validation videos" in said
    assert load_space(out).trials == 3
    with pytest.raises(MissingInputError, match="name the one above"):
        invoke(tmp_path / "data" / "train", "--out", tmp_path / "other.yaml", "--cpu")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        invoke(tmp_path / "nowhere", "--out", tmp_path / "sweep.yaml", "--cpu")
    with pytest.raises(UsageError, match="needs DATA"):
        invoke("--out", tmp_path / "sweep.yaml")
    assert not (tmp_path / "sweep.yaml").exists()


def test_prints_the_schema_for_editors() -> None:
    done = CliRunner().invoke(app, ["init", "--schema"])
    assert json.loads(done.stdout) == json_schema()
