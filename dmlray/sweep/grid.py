"""The grid of a space: every configuration that it holds, where no parameter is continuous."""

import builtins
import math
from collections.abc import Iterator, Sequence

from dmlray.errors import ConfigError
from dmlray.sweep.cube import count, nth
from dmlray.sweep.ranges import Range, Scalar
from dmlray.sweep.space import Space
from dmlray.sweep.tree import Branch, Group, Node, leaves


def continuous(space: Space) -> list[Range]:
    """The parameters that a grid cannot have: float ranges without a step."""
    return [leaf for leaf in leaves(space.root) if count(leaf) is None]


def check_grid(space: Space) -> None:
    """Raise ConfigError that names every parameter which a grid cannot have."""
    endless = continuous(space)
    if endless:
        names = ", ".join(leaf.name for leaf in endless)
        raise ConfigError(endless[0].field, names, "discrete for a grid: give each of these floats a `step`")


def grid_size(space: Space) -> int | None:
    """How many points the grid has; None where a parameter is continuous."""
    return None if continuous(space) else _size(space.root)


def grid_points(space: Space) -> Iterator[dict[str, Scalar]]:
    """Every point, as parameter name -> value, in the file's order with the last parameter changing fastest."""
    walk = _Odometer({leaf.name: leaf for leaf in leaves(space.root)})
    while walk.has_more:
        space.suggest(walk)
        yield walk.point()


def _size(node: Node) -> int:
    if isinstance(node, Group):
        return math.prod(_size(child) for child in node.fields.values())
    if isinstance(node, Branch):
        return sum(_size(group) for group in node.groups.values())
    return count(node) or 1


class _Odometer:
    """Gives one point after another: each parameter is a wheel, which opens when those before it ask for it."""

    def __init__(self, leaves: dict[str, Range]) -> None:
        self._leaves, self.has_more = leaves, True
        self._wheels: list[int] = []  # where each wheel stands
        self._seen: list[tuple[str, Scalar, int]] = []  # name, value and number of values, of this point

    def choice(self, name: str, options: Sequence[Scalar]) -> Scalar:
        return self._next(name)

    def int(
        self, name: str, low: builtins.int, high: builtins.int, step: builtins.int, log: builtins.bool
    ) -> builtins.int:
        return self._next(name)  # type: ignore[return-value]

    def float(
        self, name: str, low: builtins.float, high: builtins.float, step: builtins.float | None, log: builtins.bool
    ) -> builtins.float:
        return self._next(name)  # type: ignore[return-value]

    def point(self) -> dict[str, Scalar]:
        """What was suggested since the last point; the next will be another."""
        point = {name: value for name, value, _ in self._seen}
        sizes = [size for _, _, size in self._seen]
        while self._wheels and self._wheels[-1] + 1 == sizes[len(self._wheels) - 1]:
            self._wheels.pop()
        if self._wheels:
            self._wheels[-1] += 1
        self.has_more, self._seen = bool(self._wheels), []
        return point

    def _next(self, name: str) -> Scalar:
        leaf, place = self._leaves[name], len(self._seen)
        if place == len(self._wheels):
            self._wheels.append(0)
        value = nth(leaf, self._wheels[place])
        self._seen.append((name, value, count(leaf) or 1))
        return value
