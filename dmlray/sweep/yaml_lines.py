"""YAML in which every value knows its line: plain values only, each key once, no tags and no aliases."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from dmlray.errors import ConfigError, MissingInputError

Value = bool | int | float | str | list["Located"] | dict[str, "Located"] | None

_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("bool", "float", "int", "null", "str")}


@dataclass(frozen=True)
class Located:
    """A YAML value, its dotted path and where it stands: ``space.yaml:12``, or the option that set it."""

    value: Value
    place: str
    path: str = ""

    @property
    def field(self) -> str:
        """How an error names this value."""
        return f"{self.place}: {self.path}" if self.path else self.place

    def plain(self) -> Any:
        """The value without its places."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def mapping(self, expected: str) -> dict[str, "Located"]:
        """The value as a mapping; raises ConfigError with what was ``expected`` otherwise."""
        if not isinstance(self.value, dict):
            raise ConfigError(self.field, self.plain(), expected)
        return self.value


def read_yaml(path: Path) -> Located:
    """Read one YAML file. Raises MissingInputError, or ConfigError with file and line."""
    if not path.is_file():
        raise MissingInputError(path, "YAML file")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"byte {error.object[error.start]:#x} at {error.start}", "UTF-8 text") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, source: str, *, lines: bool = True, path: str = "") -> Located:
    """Parse YAML text that came from ``source``; ``lines`` says whether a line number helps to find a value there."""
    whole = f"{source}: {path}" if path else source
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise ConfigError(whole, "nothing", "a YAML value")
        return _Builder(loader, source, lines).build(node, node, path)
    except yaml.MarkedYAMLError as error:
        place = f"{source}:{error.problem_mark.line + 1}" if lines and error.problem_mark else whole
        raise ConfigError(place, error.problem, "plain YAML (no tags, no aliases)") from error
    except yaml.YAMLError as error:
        raise ConfigError(whole, str(error).splitlines()[0], "plain YAML (no tags, no aliases)") from error
    except RecursionError:
        raise ConfigError(whole, "hundreds of levels", "nested less deeply") from None


def with_value(root: Located, keys: Sequence[str], new: Located) -> Located:
    """``root`` with the value at ``keys`` set to ``new``; mappings on the way are made where they are missing."""
    if not keys:
        return new
    children = root.mapping(f"a mapping, to take the key {keys[0]!r} of {new.place}")
    path = f"{root.path}.{keys[0]}".lstrip(".")
    below = with_value(children.get(keys[0], Located({}, new.place, path)), keys[1:], new)
    return replace(root, value={**children, keys[0]: below})


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses tags and aliases, knows no dates and reads 1e-4 as a number (YAML 1.2, 10.3.2)."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own class attribute)
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _PLAIN]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refused(f"the alias *{event.anchor}", event)
        if getattr(event, "tag", None) is not None:
            raise _refused(f"the tag {event.tag}", event)
        return super().compose_node(parent, index)


def _refused(what: str, event: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=what, problem_mark=event.start_mark)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


@dataclass(frozen=True)
class _Builder:
    """Turns PyYAML's nodes into Located values."""

    loader: _Loader
    source: str
    lines: bool

    def place(self, node: yaml.Node) -> str:
        return f"{self.source}:{node.start_mark.line + 1}" if self.lines else self.source

    def build(self, node: yaml.Node, key: yaml.Node, path: str) -> Located:
        """The value of ``node``, placed at the line of its ``key``."""
        place = self.place(key)
        if isinstance(node, yaml.MappingNode):
            return Located(self._mapping(node, path), place, path)
        if isinstance(node, yaml.SequenceNode):
            items = [self.build(item, item, f"{path}[{index}]") for index, item in enumerate(node.value)]
            return Located(items, place, path)
        return Located(self._scalar(node, f"{place}: {path}"), place, path)

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Located]:
        children: dict[str, Located] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(self.place(key), "a list or mapping", "a key that is a word")
            below = f"{path}.{key.value}".lstrip(".")
            if key.value in children:
                first = children[key.value].place
                raise ConfigError(f"{self.place(key)}: {below}", "it again", f"given once, as on {first}")
            children[key.value] = self.build(value, key, below)
        return children

    def _scalar(self, node: yaml.Node, field: str) -> bool | int | float | str | None:
        try:
            value: bool | int | float | str | None = self.loader.construct_object(node)
        except ValueError as error:  # e.g. more digits than Python converts
            raise ConfigError(field, node.value[:40], "a number that Python can read") from error
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(field, value, "a finite number")
        return value
