"""What an editor says about a space file: never more than `load_space`, and nearly as much."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from dmlray.config import TrialConfig
from dmlray.errors import ConfigError
from dmlray.sweep.space import json_schema, load_space
from dmlray.sweep.yaml_lines import parse_yaml, read_yaml
from tests.sweep.spaces import SPACE, RandomSuggester, load_text
from tests.sweep.test_space import REFUSED, SHIPPED

VALIDATOR = Draft202012Validator(json_schema())
BEYOND = {  # what depends on two values at once
    "epochs: {int: [5, 4]}",
    "epochs: {int: [1, 6], step: 7}",
    "epochs: {int: [1, 6], step: 2}",
    "uniform: {}",
    "all: {count: 3}",
}


def plain(text: str) -> Any:
    """The document, or None where it is no YAML that dmlray reads."""
    try:
        return parse_yaml(text, "space.yaml").plain()
    except ConfigError:
        return None


def test_is_a_schema() -> None:
    Draft202012Validator.check_schema(VALIDATOR.schema)


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_takes_every_shipped_space(path: Path) -> None:
    assert not [error.message for error in VALIDATOR.iter_errors(read_yaml(path).plain())]


@pytest.mark.parametrize(
    "part",
    [
        "loss: {}",
        "loss: {distillation: }",
        "loss: {distillation: {predictions: somewhere, weight: {choice: [0.1, 0.9]}}}",
        "frames: {}",
        "frames: {select: uniform, count: {int: [8, 60]}}",
        "pooling: {kind: {choice: [mean, max]}}",
        "encoder: {kind: {choice: [lstm, sru]}, hidden: {int: [8, 16]}}",
        "optimizer: {choice: {adam: {schedule: {choice: [constant, cosine]}}, adamw: }}",
        "micro_batch: {choice: [null, 4]}",
        "mixup: {float: [0, 1]}",
        "mixup: {int: [0, 1]}",
        "modalities: [visual]",
    ],
)
def test_takes_what_loads(tmp_path: Path, part: str) -> None:
    load_text(tmp_path, f"space:\n  {part}\n")
    assert VALIDATOR.is_valid(plain(f"space:\n  {part}\n"))


@pytest.mark.parametrize(("old", "new"), [row[:2] for row in REFUSED], ids=[row[1] for row in REFUSED])
def test_refuses_what_does_not_load(old: str, new: str) -> None:
    document = plain(SPACE.replace(old, new, 1))
    assert document is None or VALIDATOR.is_valid(document) == (new in BEYOND)


@pytest.mark.thorough
@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 10_000), shipped=st.sampled_from(SHIPPED))
def test_takes_every_trial_as_a_space_and_as_a_configuration(seed: int, shipped: Path) -> None:
    config = TrialConfig.model_validate(load_space(shipped).suggest(RandomSuggester(seed))).model_dump(mode="json")
    assert not list(VALIDATOR.iter_errors({"space": config}))
    assert not list(VALIDATOR.iter_errors({"space": {"epochs": 1}, "configurations": {"it": config}}))


def test_a_configuration_holds_no_range() -> None:
    document = plain("space: {epochs: 1}\nconfigurations: {one: {epochs: {int: [1, 2]}}}")
    assert not VALIDATOR.is_valid(document)
    assert VALIDATOR.is_valid(
        plain("space: {epochs: 1}\nconfigurations: {one: {optimizer: {learning_rate: 0.1}}, two: }")
    )
