"""Named configurations: what they take over from the space, what is refused, and how the sampler sees them."""

from contextlib import closing
from pathlib import Path

import pytest

from dmlray.config import LogisticHead, MixtureHead, NoEncoder, RecurrentEncoder, SruEncoder, TrialConfig
from dmlray.errors import ConfigError
from dmlray.sweep.asking import SpaceExhaustedError
from dmlray.sweep.configurations import Given, NamedConfiguration, check_configurations
from dmlray.sweep.study import Study
from tests.sweep.spaces import load_text

SPACE = """\
space:
  epochs: 7
  batch_size: {choice: [64, 128]}
  head: {kind: logistic, gating: before, dropout: {float: [0.0, 0.4], step: 0.2}}
  fusion: {choice: {concat: {}, shared: {dim: {int: [32, 64], log: true}}}}
  optimizer: {kind: adam, clip_norm: 2.0, learning_rate: {float: [1e-3, 0.1], log: true}}
configurations:
"""
PLAIN = "  starter: {optimizer: {learning_rate: 0.01}, head: {dropout: 0.2}}\n"


def configurations(folder: Path, rows: str) -> dict[str, tuple[NamedConfiguration, TrialConfig]]:
    space = load_text(folder, SPACE + rows)
    return {row.name: (row, TrialConfig.model_validate(row.config)) for row in space.configurations}


def test_take_fixed_values_from_the_space_and_defaults_elsewhere(tmp_path: Path) -> None:
    rows = PLAIN + "  other kind: {epochs: 3, head: {kind: mixture, experts: 4}}\n  bare:\n"
    found = configurations(tmp_path, rows)
    assert list(found) == ["starter", "other kind", "bare"]
    starter, other, bare = (config for _, config in found.values())
    assert (starter.epochs, starter.optimizer.learning_rate, starter.optimizer.clip_norm) == (7, 0.01, 2.0)
    assert starter.head == LogisticHead(dropout=0.2, gating="before")
    assert starter.batch_size == TrialConfig().batch_size
    assert (other.epochs, other.head) == (3, MixtureHead(experts=4))
    assert bare == TrialConfig(epochs=7, head=LogisticHead(gating="before"), optimizer=bare.optimizer)


def test_kinds_of_one_model_share_its_fields(tmp_path: Path) -> None:
    rows = "space: {encoder: {kind: lstm, hidden: 32, layers: 2}}\nconfigurations:\n"
    for kind in ("gru", "sru", "none"):
        rows += f"  {kind}: {{encoder: {{kind: {kind}}}}}\n"
    gru, sru, none = (TrialConfig.model_validate(row.config) for row in load_text(tmp_path, rows).configurations)
    assert gru.encoder == RecurrentEncoder(kind="gru", hidden=32, layers=2)
    assert (sru.encoder, none.encoder) == (SruEncoder(), NoEncoder())


def test_a_point_of_the_space_is_known_by_its_parameters(tmp_path: Path) -> None:
    inside = "{batch_size: 64, fusion: {kind: shared, dim: 40}, head: {dropout: 0.4}, optimizer: {learning_rate: 0.1}}"
    rows = f"  inside: {inside}\n  outside: {{fusion: {{kind: late}}}}\n  between: {{head: {{dropout: 0.3}}}}\n"
    space = load_text(tmp_path, SPACE + rows)
    found, outside, between = space.configurations
    assert found.params == {
        "batch_size": 64,
        "fusion": "shared",
        "fusion.shared.dim": 40,
        "head.dropout": 0.4,
        "optimizer.learning_rate": 0.1,
    }
    reached = TrialConfig.model_validate(space.suggest(Given(found.params)))
    assert reached == TrialConfig.model_validate(found.config)
    assert outside.params == between.params == {}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("  a: {epoch: 3}\n", "configurations.a.epoch"),
        ("  a: {epochs: 0}\n", "configurations.a.epochs"),
        ("  a: {epochs: {int: [1, 2]}}\n", "one value: ranges stand in space"),
        ("  a: {head: {choice: [logistic]}}\n", "one value: ranges stand in space"),
        ("  a/b: {epochs: 1}\n", "letters, digits, spaces"),
        ("  a: 3\n", "a mapping"),
        ("  a: {epochs: 7}\n  b: {}\n", "b must be another configuration than a"),
        ("  a: {head: {kind: mixture, width: 3}}\n", "width"),
    ],
)
def test_name_the_place_of_what_cannot_be(row: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        load_text(tmp_path, SPACE + row)
    assert "space.yaml:8" in str(caught.value) or "space.yaml:9" in str(caught.value)


def test_all_that_cannot_be_built_are_named_at_once(tmp_path: Path) -> None:
    def check(config: TrialConfig) -> None:
        if config.epochs > 1:
            raise ConfigError("epochs", config.epochs, "1")

    space = load_text(tmp_path, SPACE + PLAIN + "  fine: {epochs: 1}\n  third: {epochs: 2}\n")
    with pytest.raises(ConfigError, match=r"\(epochs must be 1, got 7\); nor can third, got 'starter'"):
        check_configurations(space.configurations, check)
    check_configurations(space.configurations[1:2], check)


def test_change_the_fingerprint(tmp_path: Path) -> None:
    texts = (SPACE.removesuffix("configurations:\n"), SPACE + PLAIN, SPACE + "  b: {}\n")
    fingerprints = {load_text(tmp_path, text).fingerprint for text in texts}
    assert len(fingerprints) == 3


@pytest.mark.parametrize("line", ["ensembles: {both: [a, c]}", "published: {c: 0.5}"])
def test_what_speaks_of_others_is_refused(line: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"space\.yaml:9.*must be one of a"):
        load_text(tmp_path, SPACE + "  a: {epochs: 2}\n" + line + "\n")


def test_a_grid_trains_them_and_then_its_points(tmp_path: Path) -> None:
    with_choice = "space:\n  epochs: {choice: [1, 2]}\n  batch_size: {choice: [8, 16]}\n"
    named = "configurations: {one: {epochs: 2, batch_size: 8}, two: {epochs: 3}}\n"
    space = load_text(tmp_path, with_choice + named)
    path = tmp_path / "study.db"
    Study.create(path, "toy", 0, "grid").close()
    with closing(Study.open(path)) as study:
        found = [study.ask(space) for _ in range(5)]
        with pytest.raises(SpaceExhaustedError):
            study.ask(space)
    assert [trial.name for trial in found] == ["one", "two", None, None, None]
    sizes = [(trial.config["epochs"], trial.config["batch_size"]) for trial in found]
    assert sizes == [(2, 8), (3, TrialConfig().batch_size), (1, 8), (1, 16), (2, 16)]
    assert found[0].params == {"epochs": 2, "batch_size": 8}
