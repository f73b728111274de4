"""Parameters as coordinates: every leaf of a space is mapped to [0, 1), logarithms and steps taken into account."""

import math

from dmlray.sweep.ranges import Choice, Fixed, FloatRange, IntRange, Range, Scalar


def count(leaf: Range) -> int | None:
    """How many values a leaf has; None where it is continuous."""
    if isinstance(leaf, Choice):
        return len(leaf.labels)
    if isinstance(leaf, IntRange):
        return (leaf.high - leaf.low) // leaf.step + 1
    if isinstance(leaf, FloatRange) and leaf.low < leaf.high:
        return None if leaf.step is None else round((leaf.high - leaf.low) / leaf.step) + 1
    return 1


def nth(leaf: Range, index: int) -> Scalar:
    """The value number ``index`` of a leaf that is not continuous, in ascending or in the file's order."""
    if isinstance(leaf, Choice):
        return leaf.labels[index]
    if isinstance(leaf, IntRange):
        return leaf.low + index * leaf.step
    if isinstance(leaf, FloatRange):
        return leaf.on_grid(index)
    return None


def value_at(leaf: Range, place: float) -> Scalar:
    """The value at ``place`` in [0, 1): equal shares for each option or step, even in the logarithm for log ranges."""
    number = count(leaf)
    if isinstance(leaf, IntRange) and leaf.log:
        low, high = _log_ends(leaf)
        return min(leaf.high, max(leaf.low, round(math.exp(low + place * (high - low)))))
    if number is not None:
        return nth(leaf, min(int(place * number), number - 1))
    assert isinstance(leaf, FloatRange)
    if leaf.log:
        low, high = math.log(leaf.low), math.log(leaf.high)
        return min(leaf.high, max(leaf.low, math.exp(low + place * (high - low))))
    return min(leaf.high, leaf.low + place * (leaf.high - leaf.low))


def coordinate(leaf: Range, value: Scalar) -> float:
    """Where in [0, 1] a value of the leaf lies: of a discrete value the middle of its share. Inverts ``value_at``."""
    number = count(leaf)
    if isinstance(leaf, IntRange) and leaf.log:
        assert isinstance(value, int)
        low, high = _log_ends(leaf)
        return (math.log(value) - low) / (high - low)
    if isinstance(leaf, Choice):
        return (leaf.labels.index(value) + 0.5) / len(leaf.labels)
    if isinstance(leaf, Fixed) or number == 1:
        return 0.5
    assert isinstance(value, int | float)
    if number is not None:
        return (round((value - leaf.low) / (leaf.high - leaf.low) * (number - 1)) + 0.5) / number
    if leaf.log:
        return math.log(value / leaf.low) / math.log(leaf.high / leaf.low)
    return (value - leaf.low) / (leaf.high - leaf.low)


def _log_ends(leaf: IntRange) -> tuple[float, float]:
    return math.log(leaf.low - 0.5), math.log(leaf.high + 0.5)
