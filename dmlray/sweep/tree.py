"""A search space as a tree that mirrors TrialConfig: groups of fields, branches between variants, leaves."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dmlray.config import TrialConfig
from dmlray.errors import ConfigError
from dmlray.sweep.ranges import Choice, Fixed, Range, Suggester, choice_options, parse_leaf
from dmlray.sweep.variants import Part, part_of, unknown_key
from dmlray.sweep.yaml_lines import Located


@dataclass(frozen=True)
class Group:
    """The fields of one model, in the file's order; ``field`` is how an error names it."""

    fields: dict[str, "Node"]
    field: str

    def suggest(self, suggester: Suggester) -> dict[str, Any]:
        """Values for all fields."""
        return {key: node.suggest(suggester) for key, node in self.fields.items()}


@dataclass(frozen=True)
class Branch:
    """A choice between the variants of a part; each opens its own group. ``key`` tells them apart (``kind``)."""

    choice: Choice
    key: str
    groups: dict[str, Group]

    def suggest(self, suggester: Suggester) -> dict[str, Any]:
        """The variant, then the values of its fields alone."""
        tag = self.choice.suggest(suggester)
        return {self.key: tag, **self.groups[tag].suggest(suggester)}


Node = Group | Branch | Range


@dataclass(frozen=True)
class _Spot:
    """Where in the tree parsing stands: the parameter's name, the branches taken, the keys in a TrialConfig."""

    name: str = ""
    within: tuple[tuple[str, str], ...] = ()
    keys: tuple[str, ...] = ()

    def field(self, key: str) -> "_Spot":
        return replace(self, name=f"{self.name}.{key}".lstrip("."), keys=(*self.keys, key))

    def branch(self, tag: str) -> "_Spot":
        return replace(self, name=f"{self.name}.{tag}", within=(*self.within, (self.name, tag)))


def parse_tree(located: Located) -> Group:
    """The tree of a ``space:``. Raises ConfigError for unknown keys and for ranges that hold nothing."""
    return _parse_group(located, (TrialConfig,), _Spot())


def leaves(node: Node) -> Iterator[Range]:
    """Every leaf, a branch's choice before what it opens, in the file's order."""
    if isinstance(node, Group):
        for child in node.fields.values():
            yield from leaves(child)
    elif isinstance(node, Branch):
        yield node.choice
        for group in node.groups.values():
            yield from leaves(group)
    else:
        yield node


def _parse_group(located: Located, models: tuple[type[BaseModel], ...], spot: _Spot, without: str = "") -> Group:
    shared = [name for name in models[0].model_fields if all(name in model.model_fields for model in models)]
    allowed = [name for name in shared if name != without]
    if located.value is None:
        return Group({}, located.field)
    fields: dict[str, Node] = {}
    for key, child in located.mapping(f"a mapping with keys of {', '.join(allowed)}").items():
        if key not in allowed:
            raise unknown_key(child.field, key, allowed)
        fields[key] = _parse_field(child, models[0].model_fields[key], spot.field(key))
    return Group(fields, located.field)


def _parse_field(located: Located, field: FieldInfo, spot: _Spot) -> Node:
    part = part_of(field)
    if part is None or located.value is None:
        return parse_leaf(located, spot.name, spot.within, spot.keys)
    if part.key is not None and isinstance(located.value, dict) and "choice" in located.value:
        return _parse_branch(located, part, spot)
    return _parse_group(located, _models_of(located, part), spot)


def _parse_branch(located: Located, part: Part, spot: _Spot) -> Branch:
    assert part.key is not None
    written = located.mapping("a choice")
    for key, child in written.items():
        if key != "choice":
            raise unknown_key(child.field, key, ("choice",))
    options = _options(written["choice"])
    for tag, option in options.items():
        if tag not in part.variants:
            raise unknown_key(option.field, tag, part.variants)
    choice = Choice(spot.name, spot.within, (*spot.keys, part.key), located.field, tuple(options), tuple(options))
    groups = {
        tag: _parse_group(option, (part.variants[tag],), spot.branch(tag), without=part.key)
        for tag, option in options.items()
    }
    return Branch(choice, part.key, groups)


def _options(located: Located) -> dict[str, Located]:
    """The options of a branch by variant: a mapping that opens their fields, or a plain list of names."""
    if isinstance(located.value, list):
        return {str(option): replace(located, value=None) for option in choice_options(located)}
    if not located.value:
        raise ConfigError(located.field, located.plain(), "a list or mapping of at least one option")
    return located.mapping("a list or mapping of at least one option")


def _models_of(located: Located, part: Part) -> tuple[type[BaseModel], ...]:
    """The models that a group may be: those of its ``kind``, or of all options where that is a choice."""
    if part.key is None or len(set(part.models)) == 1:
        return part.models
    kinds = f"a mapping with {part.key}: one of {', '.join(part.variants)}"
    written = located.mapping(kinds)
    if part.key not in written:
        raise ConfigError(located.field, located.plain(), kinds)
    leaf = parse_leaf(written[part.key], part.key, (), ())
    tags = leaf.options if isinstance(leaf, Choice) else (leaf.value,) if isinstance(leaf, Fixed) else ()
    for tag in tags:
        if tag not in part.variants:
            raise unknown_key(leaf.field, str(tag), part.variants)
    if not tags:
        raise ConfigError(leaf.field, written[part.key].plain(), f"one of {', '.join(part.variants)}")
    return tuple(part.variants[tag] for tag in tags)
