"""Whether TrialConfig accepts everything that a search space can suggest: ends of ranges, every choice, every branch.

TrialConfig's own bounds are intervals, so a range whose ends pass holds nothing that fails.
"""

import builtins
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from pydantic import ValidationError

from dmlray.config import TrialConfig
from dmlray.config.problem import first_problem
from dmlray.errors import ConfigError
from dmlray.sweep.ranges import Range, Scalar
from dmlray.sweep.tree import Branch, Group, Node, leaves


def check_space(root: Group) -> None:
    """Build a TrialConfig for every end of every range, with the rest at its first option. Raises ConfigError."""
    for leaf in leaves(root):
        for probe in leaf.probes():
            _check(root, leaf, {**dict(leaf.within), leaf.name: probe})


def _check(root: Group, leaf: Range, forced: Mapping[str, Scalar]) -> None:
    written = root.suggest(_Witness(forced))
    try:
        config = TrialConfig.model_validate(written)
    except ValidationError as error:
        found = first_problem(error)
        raise ConfigError(_field_at(root, found.keys, forced), found.value, found.expected) from error
    before: Any = reduce(lambda part, key: part[key], leaf.keys, written)
    after: Any = reduce(getattr, leaf.keys, config)
    if not _same_kind(before, after):
        raise ConfigError(leaf.field, before, f"of type {type(after).__name__}")


def _same_kind(written: Any, read: Any) -> bool:
    """False where pydantic would turn "5", true or 2.0 into an int: a slip that must not train quietly."""
    if isinstance(written, bool | str) or isinstance(read, bool | str):
        return type(written) is type(read)
    return not (isinstance(written, float) and isinstance(read, int))


def _field_at(node: Node, location: Sequence[str | int], forced: Mapping[str, Scalar]) -> str:
    """How the space file names the deepest place of pydantic's ``location``, along the branches of this probe."""
    if isinstance(node, Branch):
        tag = forced.get(node.choice.name, node.choice.options[0])
        if not location or location[0] == node.key:
            return node.choice.field
        return _field_at(node.groups[str(tag)], location[1:] if location[0] == tag else location, forced)
    if not isinstance(node, Group) or not location:
        return node.field
    if location[0] in node.fields:
        return _field_at(node.fields[str(location[0])], location[1:], forced)
    return _field_at(node, location[1:], forced)  # a variant's name, which the file does not repeat


@dataclass(frozen=True)
class _Witness:
    """Suggests what is ``forced``, and the first option or the low end for the rest."""

    forced: Mapping[str, Scalar]

    def choice(self, name: str, options: Sequence[Scalar]) -> Scalar:
        return self.forced.get(name, options[0])

    def int(
        self, name: str, low: builtins.int, high: builtins.int, step: builtins.int, log: builtins.bool
    ) -> builtins.int:
        return self.forced.get(name, low)  # type: ignore[return-value]

    def float(
        self, name: str, low: builtins.float, high: builtins.float, step: builtins.float | None, log: builtins.bool
    ) -> builtins.float:
        return self.forced.get(name, low)  # type: ignore[return-value]
