"""Spaces suggest what TrialConfig accepts, under stable names; what they must not hold is refused with its line."""

from functools import partial
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dmlray.config import TrialConfig
from dmlray.data.schema import Schema
from dmlray.errors import ConfigError, MissingInputError
from dmlray.model.build import check_buildable
from dmlray.sweep.configurations import check_configurations
from dmlray.sweep.space import Space, load_space
from tests.data.videos import FRAME, VIDEO
from tests.sweep.spaces import SPACE, RandomSuggester, load_text

SHIPPED = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Space:
    return load_text(tmp_path_factory.mktemp("space"), SPACE)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000))
def test_suggests_what_a_trial_accepts(space: Space, seed: int) -> None:
    suggester = RandomSuggester(seed)
    config = TrialConfig.model_validate(space.suggest(suggester))
    assert config.epochs == 4
    assert ("encoder.gru.hidden" in suggester.names) == (config.encoder.kind == "gru")
    assert ("frames.uniform.count" in suggester.names) == (config.frames.select == "uniform")
    assert len(set(suggester.names)) == len(suggester.names)


def test_names_are_paths_with_the_branches_taken(space: Space) -> None:
    names = set()
    for seed in range(50):
        suggester = RandomSuggester(seed)
        space.suggest(suggester)
        names.update(suggester.names)
    assert names == {
        "modalities", "fusion", "fusion.shared.dim", "fusion.projection.penalty", "encoder", "encoder.gru.hidden",
        "encoder.gru.dropout", "encoder.gru.bidirectional", "frames", "frames.uniform.count", "pooling",
        "optimizer.clip_norm", "optimizer.learning_rate",
    }  # fmt: skip
    assert space.dimensions == len(names)


def test_reads_the_rest_of_the_file(space: Space) -> None:
    assert (space.description, space.trials, space.stopping.rule) == ("every kind of leaf", 8, "asha")


def test_written_out_it_loads_as_the_same_space(space: Space, tmp_path: Path) -> None:
    again = load_text(tmp_path, yaml.safe_dump(space.document, sort_keys=False))
    assert again.fingerprint == space.fingerprint
    assert again.suggest(RandomSuggester(3)) == space.suggest(RandomSuggester(3))
    assert again.stopping == space.stopping


def test_overrides_change_the_space_and_its_fingerprint(space: Space, tmp_path: Path) -> None:
    overrides = {"space.epochs": "2", "space.encoder.choice.gru.hidden": "{int: [8, 16]}", "trials": "3"}
    changed = load_text(tmp_path, SPACE, overrides)
    configs = [changed.suggest(RandomSuggester(seed)) for seed in range(20)]
    assert {config["epochs"] for config in configs} == {2}
    assert all(8 <= config["encoder"].get("hidden", 8) <= 16 for config in configs)
    assert changed.trials == 3
    assert changed.fingerprint != space.fingerprint


def test_an_override_adds_what_the_file_lacks_and_the_last_wins(tmp_path: Path) -> None:
    overrides = [("space.batch_size", "64"), ("space.head.kind", "logistic"), ("space.batch_size", "32")]
    config = load_text(tmp_path, SPACE, overrides).suggest(RandomSuggester(0))
    assert (config["batch_size"], config["head"]) == (32, {"kind": "logistic"})


def test_the_fingerprint_leaves_out_what_does_not_change_the_space(space: Space, tmp_path: Path) -> None:
    assert load_text(tmp_path, SPACE, {"trials": "99", "description": "other"}).fingerprint == space.fingerprint


def test_a_kind_may_be_chosen_where_the_variants_share_their_fields(tmp_path: Path) -> None:
    text = "space: {encoder: {kind: {choice: [lstm, gru]}, hidden: {int: [8, 16]}}}"
    space = load_text(tmp_path, text)
    suggester = RandomSuggester(1)
    TrialConfig.model_validate(space.suggest(suggester))
    assert suggester.names == ["encoder.kind", "encoder.hidden"]


EPOCHS, SHARED = "epochs: 4", "shared: {dim: {int: [128, 512], log: true}}"
RATE, COUNT = "{float: [1e-3, 0.1], log: true}", "uniform: {count: {int: [8, 60]}}"
REFUSED = [
    (EPOCHS, "epoch: 4", "space.yaml:5: space.epoch must be", "did you mean epochs?"),
    (EPOCHS, "epochs: 0", "space.yaml:5: space.epochs must be greater than 0", "0"),
    (EPOCHS, "epochs: '4'", "space.yaml:5: space.epochs must be of type int", "'4'"),
    (EPOCHS, "epochs: yes", "space.yaml:5: space.epochs must be of type int", "True"),
    (EPOCHS, "epochs: .inf", "space.yaml:5: space.epochs must be a finite number", "inf"),
    (EPOCHS, "epochs: {float: [1, 4]}", "space.yaml:5: space.epochs must be of type int", "1.0"),
    (EPOCHS, "epochs: {int: [0, 4]}", "space.yaml:5: space.epochs must be greater than 0", "0"),
    (EPOCHS, "epochs: {int: [5, 4]}", "space.yaml:5: space.epochs.int must be [low, high]", "[5, 4]"),
    (EPOCHS, "epochs: {int: [1.5, 4]}", "space.yaml:5: space.epochs.int must be two integers", "[1.5, 4]"),
    (EPOCHS, "epochs: {int: []}", "space.yaml:5: space.epochs.int must be two integers", "[]"),
    (EPOCHS, "epochs: {int: [0, 6], log: true}", "space.epochs.int must be [low, high] with low > 0", "[0, 6]"),
    (EPOCHS, "epochs: {int: [1, 6], log: 1}", "space.epochs.log must be true or false", "1"),
    (EPOCHS, "epochs: {int: [1, 6], log: true, step: 1}", "space.epochs.step must be left out", "1"),
    (EPOCHS, "epochs: {int: [1, 6], step: 0}", "space.epochs.step must be a step above 0", "0"),
    (EPOCHS, "epochs: {int: [1, 6], step: 7}", "space.epochs.step must be a step above 0 and at most", "7"),
    (EPOCHS, "epochs: {int: [1, 6], step: 2}", "space.epochs.step must be a step that leads from 1 to", "2"),
    (EPOCHS, "epochs: {choice: []}", "space.epochs.choice must be a list of at least one option", "[]"),
    (EPOCHS, "epochs: {choice: [1, 2, 1]}", "space.epochs.choice must be options that differ", "1"),
    (EPOCHS, "epochs: {choice: [1, 0]}", "space.yaml:5: space.epochs must be greater than 0", "0"),
    (EPOCHS, "epochs: {chioce: [1]}", "space.yaml:5: space.epochs must be one of", "did you mean choice?"),
    (EPOCHS, "epochs: {int: [1, 4], stp: 1}", "space.epochs.stp must be one of", "did you mean step?"),
    (EPOCHS, "epochs: {int: [1, 4], choice: [3]}", "space.epochs must be only one of choice", "choice and int"),
    (EPOCHS, "epochs: {}", "space.yaml:5: space.epochs must be one of choice, float, int", "empty"),
    (EPOCHS, "epochs: 4\n  epochs: 5", "space.yaml:6: space.epochs must be given once, as on", "space.yaml:5"),
    (EPOCHS, "epochs: !!python/object/apply:os.system [ls]", "space.yaml:5 must be plain YAML", "python/object"),
    (EPOCHS, "epochs: &a 4\n  batch_size: *a", "space.yaml:6 must be plain YAML", "alias *a"),
    (EPOCHS, "epochs: [4", "space.yaml:6 must be plain YAML", "expected"),
    (EPOCHS, "epochs: [4]", "space.yaml:5: space.epochs must be a valid integer", "[4]"),
    ("concat: {}", "conct: {}", "space.yaml:9: space.fusion.choice.conct must be one of", "did you mean concat?"),
    (SHARED, "shared: {dims: 3}", "space.yaml:10: space.fusion.choice.shared.dims", "did you mean dim?"),
    (SHARED, "shared: {kind: concat}", "space.yaml:10: space.fusion.choice.shared.kind", "one of dim"),
    (SHARED, "shared: {dim: {int: [-1, 9]}}", "space.yaml:10: space.fusion.choice.shared.dim", "-1"),
    (SHARED, "concat: {}", "space.fusion.choice.concat must be given once", "space.yaml:9"),
    (COUNT, "uniform: {}", "space.yaml:19: space.frames must be right: `count` goes with", "uniform"),
    ("all:", "all: {count: 3}", "space.yaml:19: space.frames must be right: `count` goes with", "all"),
    ("kind: adam", "kind: sgd", "space.yaml:25: space.optimizer.kind must be", "sgd"),
    (RATE, "{float: [0.0, 0.1]}", "space.yaml:27: space.optimizer.learning_rate must be greater than 0", "0.0"),
    (RATE, "{float: [1e-3]}", "space.optimizer.learning_rate.float must be two numbers", "[0.001]"),
    ("[mean, attention]", "[mean, mean]", "space.pooling.choice must be options that differ", "mean"),
    ("[mean, attention]", "[]", "space.pooling.choice must be a list of at least one option", "[]"),
    ("[mean, attention]", "[mean, median]", "space.pooling.choice must be one of", "did you mean mean?"),
    ("pooling: {choice: [mean, attention]}", "pooling: mean", "space.pooling must be a mapping with kind", "mean"),
    ("pooling: {choice: [mean, attention]}", "pooling: {kind: mode}", "space.pooling.kind must be one of", "mode"),
    ("pooling: {choice: [mean, attention]}", "pooling: {}", "space.pooling must be a mapping with kind", "{}"),
    ("[[visual], [visual, audio]]", "[3]", "space.yaml:6: space.modalities must be a valid tuple", "3"),
    ("space:", "spaec:", "space.yaml:4: spaec must be one of", "did you mean space?"),
    ("trials: 8", "trials: 0", "space.yaml:2: trials must be greater than 0", "0"),
    ("trials: 8", "trials: 2026-01-01", "space.yaml:2: trials must be a valid integer", "2026-01-01"),
    ("rule: asha", "rule: luck", "space.yaml:3: stopping.rule must be 'none', 'asha', 'hyperband' or 'median'", "luck"),
    ("eta: 2", "etaa: 2", "space.yaml:3: stopping.etaa must be one of", "did you mean eta?"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "start", "part"), REFUSED, ids=[row[1] for row in REFUSED])
def test_refuses_with_file_line_and_field(tmp_path: Path, old: str, new: str, start: str, part: str) -> None:
    assert old in SPACE
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, SPACE.replace(old, new, 1))
    assert start in str(caught.value)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "# nothing", "[1, 2]", "3", "space:", "space: {}", "\x00", "[" * 1000, "? [a]\n: 1"]
)
def test_refuses_what_is_no_space(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"space\.yaml"):
        load_text(tmp_path, text)


def test_refuses_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_space(tmp_path / "space.yaml")


def test_misses_a_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(MissingInputError):
            load_space(path)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"space.epochs": "0"}, "--set: space.epochs must be greater than 0"),
        ({"space.epoch": "3"}, "--set: space.epoch must be one of"),
        ({"space.epochs": "["}, "--set: space.epochs must be plain YAML"),
        ({"space.epochs": ""}, "--set: space.epochs must be a YAML value"),
        ({"space.epochs.int": "[1, 2]"}, "space.epochs must be a mapping"),
        ({"trials": "many"}, "--set: trials must be a valid integer"),
    ],
)
def test_refuses_an_override_by_its_path(tmp_path: Path, overrides: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, SPACE, overrides)
    assert message in str(caught.value)


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_shipped_spaces_load(path: Path) -> None:
    space = load_space(path)
    assert space.description
    assert space.trials or space.configurations
    for seed in range(20):
        TrialConfig.model_validate(space.suggest(RandomSuggester(seed)))


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "schema"), [("starter", VIDEO), ("paper", FRAME), ("audioset_encoders", FRAME)])
def test_shipped_configurations_can_be_built(name: str, schema: Schema) -> None:
    configurations = load_space(SHIPPED[0].with_stem(name)).configurations
    check_configurations(configurations, partial(check_buildable, schema=schema))
    if schema is FRAME:
        with pytest.raises(ConfigError, match=r"'(none|mean)' on video-level data") as caught:
            check_configurations(configurations, partial(check_buildable, schema=VIDEO))
        assert all(row.name in str(caught.value) for row in configurations[1:])


def test_retries_are_settled_in_the_space_file(tmp_path: Path) -> None:
    space = load_text(tmp_path, "retries: {out_of_memory: 3}\nspace: {epochs: 2}")
    assert (space.retries.out_of_memory, space.retries.storage) == (3, 3)
    for text, match in [
        ("retries: {oom: 1}", "oom"),
        ("retries: {nan: -1}", "nan"),
        ("retries: {bad_config: 1}", "bad"),
    ]:
        with pytest.raises(ConfigError, match=match):
            load_text(tmp_path, f"{text}\nspace: {{epochs: 2}}")
