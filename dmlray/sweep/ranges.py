"""What stands at a leaf of a search space: a fixed value, a choice, or a range of integers or floats."""

import builtins
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations
from typing import Any, Protocol

from dmlray.errors import ConfigError
from dmlray.sweep.variants import unknown_key
from dmlray.sweep.yaml_lines import Located

Scalar = bool | int | float | str | None
OPERATIONS = ("choice", "float", "int")


class Suggester(Protocol):
    """Whoever decides: a sampler, or a test. Bounds are inclusive; the same name always has the same range."""

    def choice(self, name: str, options: Sequence[Scalar]) -> Scalar:
        """One of ``options``."""

    def int(
        self, name: str, low: builtins.int, high: builtins.int, step: builtins.int, log: builtins.bool
    ) -> builtins.int:
        """An integer ``low + k * step``."""

    def float(
        self, name: str, low: builtins.float, high: builtins.float, step: builtins.float | None, log: builtins.bool
    ) -> builtins.float:
        """A float; on the grid ``low + k * step`` unless ``step`` is None."""


@dataclass(frozen=True)
class Leaf:
    """Where a leaf stands."""

    name: str  # the parameter: its dotted path with the branches taken
    within: tuple[tuple[str, str], ...]  # the choices of branches that it depends on
    keys: tuple[str, ...]  # where its value stands in a TrialConfig
    field: str  # how an error names it


@dataclass(frozen=True)
class Fixed(Leaf):
    """A value that every trial has."""

    value: Any

    def suggest(self, suggester: Suggester) -> Any:
        """The value, asking nobody."""
        return self.value

    def probes(self) -> tuple[Scalar, ...]:
        """Suggestions that stand for all."""
        return (None,)


@dataclass(frozen=True)
class Choice(Leaf):
    """One of ``options``; ``labels`` are what the sampler sees: the options, or their text where they are lists."""

    options: tuple[Any, ...]
    labels: tuple[Scalar, ...]

    def suggest(self, suggester: Suggester) -> Any:
        """The option that the suggester chooses."""
        return self.options[self.labels.index(suggester.choice(self.name, self.labels))]

    def probes(self) -> tuple[Scalar, ...]:
        """Every label."""
        return self.labels


@dataclass(frozen=True)
class IntRange(Leaf):
    """Integers from ``low`` to ``high``, both included."""

    low: int
    high: int
    step: int
    log: bool

    def suggest(self, suggester: Suggester) -> int:
        """An integer within the bounds."""
        return suggester.int(self.name, self.low, self.high, self.step, self.log)

    def probes(self) -> tuple[Scalar, ...]:
        """Both ends."""
        return (self.low, self.high)


@dataclass(frozen=True)
class FloatRange(Leaf):
    """Floats from ``low`` to ``high``, both included; on a grid where ``step`` is given."""

    low: float
    high: float
    step: float | None
    log: bool

    def suggest(self, suggester: Suggester) -> float:
        """A float within the bounds; on a grid exactly what is written, 0.3 and not 3 * 0.1."""
        return self.exact(suggester.float(self.name, self.low, self.high, self.step, self.log))

    def exact(self, value: builtins.float) -> builtins.float:
        """``value``, or on a grid the point that it stands for."""
        return value if self.step is None else self.on_grid(round((value - self.low) / self.step))

    def on_grid(self, index: builtins.int) -> builtins.float:
        """``low`` plus ``index`` steps, calculated in decimals as they are written."""
        return float(Decimal(str(self.low)) + index * Decimal(str(self.step or 0.0)))

    def probes(self) -> tuple[Scalar, ...]:
        """Both ends and a point between, which a field of integers refuses."""
        between = self.low + self.step if self.step else self.low + (self.high - self.low) / 2.7
        return (self.low, self.high, between)


Range = Fixed | Choice | IntRange | FloatRange


def parse_leaf(located: Located, name: str, within: tuple[tuple[str, str], ...], keys: tuple[str, ...]) -> Range:
    """A leaf as written: a plain value, or a mapping with one of ``choice``, ``int``, ``float``. Raises ConfigError."""
    if not isinstance(located.value, dict):
        return Fixed(name, within, keys, located.field, located.plain())
    found = [operation for operation in OPERATIONS if operation in located.value]
    if not found:
        key = next(iter(located.value), "an empty mapping")
        raise unknown_key(located.field, key, OPERATIONS)
    if len(found) > 1:
        raise ConfigError(located.field, " and ".join(found), f"only one of {', '.join(OPERATIONS)}")
    allowed = ("choice",) if found == ["choice"] else (found[0], "log", "step")
    for key, child in located.value.items():
        if key not in allowed:
            raise unknown_key(child.field, key, allowed)
    if found == ["choice"]:
        options = choice_options(located.value["choice"])
        labels = tuple(json.dumps(option) if isinstance(option, list | dict) else option for option in options)
        return Choice(name, within, keys, located.field, options, labels)
    return _parse_range(located.value, found[0], Leaf(name, within, keys, located.field))


def choice_options(located: Located) -> tuple[Any, ...]:
    """The options of a ``choice``: at least one, none twice."""
    if not isinstance(located.value, list) or not located.value:
        raise ConfigError(located.field, located.plain(), "a list of at least one option")
    options = tuple(located.plain())
    for first, second in combinations(options, 2):
        if first == second or str(first) == str(second):
            raise ConfigError(located.field, second, "options that differ from each other")
    return options


def _parse_range(written: Mapping[str, Located], operation: str, leaf: Leaf) -> Range:
    bounds, log = written[operation], _flag(written.get("log"))
    low, high = _bounds(bounds, operation)
    if low > high:
        raise ConfigError(bounds.field, [low, high], "[low, high] with low <= high")
    if log and low <= 0:
        raise ConfigError(bounds.field, [low, high], "[low, high] with low > 0, for log: true")
    step = _step(written.get("step"), bounds, operation, log)
    where = (leaf.name, leaf.within, leaf.keys, leaf.field)
    if operation == "int":
        return IntRange(*where, int(low), int(high), int(step or 1), log)
    return FloatRange(*where, float(low), float(high), None if step is None else float(step), log)


def _bounds(located: Located, operation: str) -> tuple[float, float]:
    written = located.plain()
    if not isinstance(written, list) or len(written) != 2 or not all(_is_number(bound, operation) for bound in written):
        kind = "integers" if operation == "int" else "numbers"
        raise ConfigError(located.field, written, f"two {kind} [low, high]")
    return written[0], written[1]


def _step(located: Located | None, bounds: Located, operation: str, log: bool) -> float | None:
    if located is None:
        return None
    step, (low, high) = located.plain(), bounds.plain()
    if log:
        raise ConfigError(located.field, step, "left out where log: true stands")
    if not _is_number(step, operation) or not 0 < step <= high - low:
        raise ConfigError(located.field, step, f"a step above 0 and at most the width of {[low, high]}")
    if (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)):
        raise ConfigError(located.field, step, f"a step that leads from {low} to exactly {high}")
    return float(step) if operation == "float" else int(step)


def _flag(located: Located | None) -> bool:
    if located is None:
        return False
    if not isinstance(located.value, bool):
        raise ConfigError(located.field, located.plain(), "true or false")
    return located.value


def _is_number(value: object, operation: str) -> bool:
    return isinstance(value, int if operation == "int" else int | float) and not isinstance(value, bool)
