"""The cluster files as data, for the tests of this folder."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

CLUSTER = Path(__file__).parents[2] / "cluster"
LAUNCHED = ("gpu", "gcp", "onprem")  # by `ray up`


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CLUSTER / f"{name}.yaml").read_text())
    return loaded


def prepared(document: dict[str, Any]) -> dict[str, Any]:
    """As `ray up` fills it in before it asks the cloud."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config: dict[str, Any] = prepare_config(document)
    validate_config(config)
    return config


def prepare_aws() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prepare_aws", CLUSTER / "prepare_aws.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
