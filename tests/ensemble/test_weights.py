"""Weights of members."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmlray.ensemble.weights import RULES, member_weights
from dmlray.errors import ConfigError

MEMBERS = st.lists(st.tuples(st.integers(1, 9), st.floats(0, 1)), min_size=1, max_size=6)


@pytest.mark.parametrize("rule", RULES)
@given(members=MEMBERS)
def test_weights_are_shares(rule, members):
    counts, gaps = zip(*members, strict=True)
    weights = member_weights(rule, counts, gaps)
    assert sum(weights) == pytest.approx(1)
    assert all(weight >= 0 for weight in weights)


def test_rules():
    counts, gaps = [2, 1], [0.6, 0.8]
    assert member_weights("gap", counts, gaps) == pytest.approx([0.6, 0.4])  # 2 x 0.6 to 0.8
    assert member_weights("count", counts, gaps) == pytest.approx([2 / 3, 1 / 3])
    assert member_weights("uniform", counts, gaps) == [0.5, 0.5]
    assert member_weights("gap", counts, [0.0, 0.0]) == member_weights("count", counts, gaps)


def test_an_unknown_rule_is_named():
    with pytest.raises(ConfigError, match="weights must be one of gap, count, uniform, got 'best'"):
        member_weights("best", [1], [0.5])
