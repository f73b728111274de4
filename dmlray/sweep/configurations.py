"""Named configurations of a space file: fixed points that a sweep trains before it searches."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from pydantic import BaseModel

from dmlray.config import TrialConfig
from dmlray.errors import ConfigError
from dmlray.sweep.probes import check_space
from dmlray.sweep.ranges import OPERATIONS, Choice, Fixed, FloatRange, IntRange, Range, Scalar
from dmlray.sweep.tree import Group, leaves, parse_tree
from dmlray.sweep.variants import Part, part_of
from dmlray.sweep.yaml_lines import Located

_NAME = r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}"
_KIND_KEYS = ("kind", "select")


@dataclass(frozen=True)
class NamedConfiguration:
    """``config`` as TrialConfig.model_validate accepts it; ``field`` is how an error names it.

    ``params`` are the values of the space's parameters where the configuration is a point of the space, so that a
    sampler learns from it; empty where it is not.
    """

    name: str
    field: str
    config: dict[str, Any]
    params: dict[str, Scalar]


def parse_configurations(written: Located, space: Located) -> tuple[NamedConfiguration, ...]:
    """The ``configurations:`` of a file: by name, what differs from the fixed values of its ``space:``.

    Neither there nor fixed, a value is TrialConfig's default. Raises ConfigError for what is no single configuration.
    """
    root, shared = parse_tree(space), _fixed_part(space)
    rows = written.mapping("a mapping of names, each with the keys of a trial")
    found = tuple(_parse(name, row, shared, root) for name, row in rows.items())
    for first, second in combinations(found, 2):
        if TrialConfig.model_validate(first.config) == TrialConfig.model_validate(second.config):
            raise ConfigError(second.field, second.name, f"another configuration than {first.name}, which it equals")
    return found


def check_configurations(configurations: tuple[NamedConfiguration, ...], check: Callable[[TrialConfig], None]) -> None:
    """Raise the first ConfigError of ``check``, naming every configuration that has one."""
    refused = [(row, error) for row in configurations if (error := _refusal(row, check)) is not None]
    if not refused:
        return
    first, error = refused[0]
    others = ", ".join(row.name for row, _ in refused[1:])
    expected = f"a configuration that this data can train ({error})"
    raise ConfigError(first.field, first.name, f"{expected}; nor can {others}" if others else expected)


def _refusal(row: NamedConfiguration, check: Callable[[TrialConfig], None]) -> ConfigError | None:
    try:
        check(TrialConfig.model_validate(row.config))
    except ConfigError as error:
        return error
    return None


def _parse(name: str, row: Located, shared: Located | None, root: Group) -> NamedConfiguration:
    if not re.fullmatch(_NAME, name):
        raise ConfigError(row.field, name, "1 to 64 letters, digits, spaces, '.', '_', '+' or '-'")
    _check_single(row)
    tree = parse_tree(_over(shared, replace(row, value={}) if row.value is None else row, (TrialConfig,)))
    check_space(tree)
    config = tree.suggest(_Nobody())
    return NamedConfiguration(name, row.field, config, _params(root, config))


def _check_single(located: Located) -> None:
    for key, child in located.value.items() if isinstance(located.value, dict) else ():
        if key in OPERATIONS:
            raise ConfigError(located.field, f"a {key}", "one value: ranges stand in space")
        _check_single(child)


def _fixed_part(located: Located) -> Located | None:
    """What a space leaves no choice in; a part whose kind is open is left out whole."""
    if not isinstance(located.value, dict):
        return located
    children = {key: part for key, child in located.value.items() if (part := _fixed_part(child)) is not None}
    is_open = any(key in located.value and key not in children for key in _KIND_KEYS)
    if is_open or any(operation in located.value for operation in OPERATIONS):
        return None
    return replace(located, value=children)


def _over(shared: Located | None, own: Located, models: tuple[type[BaseModel], ...]) -> Located:
    """``own`` with what only ``shared`` has; of a part of another kind, only where one model holds both kinds."""
    if shared is None or not isinstance(shared.value, dict) or not isinstance(own.value, dict):
        return own
    merged = dict(shared.value)
    for key, child in own.value.items():
        part = next((part_of(model.model_fields[key]) for model in models if key in model.model_fields), None)
        before = shared.value.get(key)
        models_below = part.models if part else ()
        merged[key] = _over(before if _compatible(before, child, part) else None, child, models_below)
    return replace(own, value=merged)


def _compatible(shared: Located | None, own: Located, part: Part | None) -> bool:
    if shared is None or part is None or part.key is None:
        return True
    kinds = [_kind(located, part.key) for located in (own, shared)]
    return kinds[0] is None or kinds[0] == kinds[1] or part.variants.get(kinds[0]) is part.variants.get(str(kinds[1]))


def _kind(located: Located, key: str) -> str | None:
    written = located.value.get(key) if isinstance(located.value, dict) else None
    return None if written is None else str(written.value)


def _params(root: Group, config: dict[str, Any]) -> dict[str, Scalar]:
    """The choices that lead to ``config``; empty where none do."""
    resolved = TrialConfig.model_validate(config).model_dump()
    params: dict[str, Scalar] = {}
    for leaf in leaves(root):
        if isinstance(leaf, Fixed) or any(params.get(branch) != tag for branch, tag in leaf.within):
            continue
        label = label_of(leaf, value_in(resolved, leaf.keys))
        if label is None:
            return {}
        params[leaf.name] = label[0]
    reached = TrialConfig.model_validate(root.suggest(Given(params)))
    return params if reached.model_dump() == resolved else {}


def value_in(config: Any, keys: tuple[str, ...]) -> Any:
    """What stands at ``keys`` of a configuration; None where it has no such place."""
    for key in keys:
        config = config.get(key) if isinstance(config, dict) else None
    return config


def label_of(leaf: Range, value: Any) -> tuple[Scalar] | None:
    """What a sampler calls ``value`` at ``leaf``, in a tuple since it may be None; None where it cannot be there."""
    if isinstance(leaf, Choice):
        plain = list(value) if isinstance(value, tuple) else value
        return next(
            ((label,) for option, label in zip(leaf.options, leaf.labels, strict=True) if option == plain), None
        )
    if not isinstance(leaf, IntRange | FloatRange) or value is None or not leaf.low <= value <= leaf.high:
        return None
    steps = (value - leaf.low) / leaf.step if leaf.step and not leaf.log else 0
    return (value,) if abs(steps - round(steps)) < 1e-9 else None


@dataclass(frozen=True)
class Given:
    """Suggests the values it was given, by name."""

    params: dict[str, Any]

    def choice(self, name: str, options: Any) -> Any:
        return self.params[name]

    def int(self, name: str, low: Any, high: Any, step: Any, log: Any) -> Any:
        return self.params[name]

    def float(self, name: str, low: Any, high: Any, step: Any, log: Any) -> Any:
        return self.params[name]


class _Nobody(Given):
    """For trees without choices."""

    def __init__(self) -> None:
        super().__init__({})
