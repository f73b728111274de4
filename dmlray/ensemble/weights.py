"""From picks to weights: the shares, summing to 1, with which members' scores are averaged."""

from collections.abc import Callable, Mapping, Sequence

from dmlray.errors import ConfigError


def gap_weights(counts: Sequence[int], gaps: Sequence[float]) -> list[float]:
    """alpha_i = GAP_i / sum GAP over the picks, a member picked twice counting twice (Zhao, 2018, Algorithm 2).

    Where every GAP is 0, picks decide alone.
    """
    shares = [count * gap for count, gap in zip(counts, gaps, strict=True)]
    return _normalised(shares) if sum(shares) > 0 else count_weights(counts, gaps)


def count_weights(counts: Sequence[int], gaps: Sequence[float]) -> list[float]:
    """Each pick weighs the same: what the selection itself averaged."""
    return _normalised(counts)


def uniform_weights(counts: Sequence[int], gaps: Sequence[float]) -> list[float]:
    """Each member weighs the same."""
    return _normalised([1.0] * len(counts))


RULES: Mapping[str, Callable[[Sequence[int], Sequence[float]], list[float]]] = {
    "gap": gap_weights,
    "count": count_weights,
    "uniform": uniform_weights,
}


def member_weights(rule: str, counts: Sequence[int], gaps: Sequence[float]) -> list[float]:
    """Weights (E,) of members picked ``counts`` times with GAP ``gaps`` of their own, by a rule of RULES.

    Raises ConfigError on an unknown rule.
    """
    if rule not in RULES:
        raise ConfigError("weights", rule, "one of " + ", ".join(RULES))
    return RULES[rule](counts, gaps)


def _normalised(shares: Sequence[float]) -> list[float]:
    total = sum(shares)
    return [share / total for share in shares]
