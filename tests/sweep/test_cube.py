"""Coordinates and values belong to each other, and a grid holds each configuration once."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmlray.config import TrialConfig
from dmlray.errors import ConfigError
from dmlray.sweep.cube import coordinate, count, nth, value_at
from dmlray.sweep.grid import check_grid, grid_points, grid_size
from dmlray.sweep.ranges import Choice, Fixed, FloatRange, IntRange, Range
from dmlray.sweep.sampler import planned
from dmlray.sweep.sequences import cmaes_point, sobol_point
from tests.sweep.spaces import SPACE, load_text

AT = ("x", (), ("x",), "x")
LEAVES: list[Range] = [
    IntRange(*AT, 3, 3, 1, False),
    IntRange(*AT, 8, 64, 8, False),
    IntRange(*AT, 1, 1000, 1, True),
    FloatRange(*AT, -1.0, 2.5, None, False),
    FloatRange(*AT, 1e-5, 1e-1, None, True),
    FloatRange(*AT, 0.0, 0.5, 0.1, False),
    FloatRange(*AT, 0.2, 0.2, None, False),
    Choice(*AT, ("a", None, True), ("a", None, True)),
]


@settings(deadline=None)
@given(leaf=st.sampled_from(LEAVES), place=st.floats(0, 1, exclude_max=True))
def test_a_value_lies_where_it_was_taken_from(leaf: Range, place: float) -> None:
    value = value_at(leaf, place)
    found = coordinate(leaf, value)
    assert 0 <= found <= 1
    assert value_at(leaf, min(found, 1 - 1e-12)) == (pytest.approx(value) if isinstance(value, float) else value)
    number = count(leaf)
    if number is None:
        assert found == pytest.approx(place, abs=1e-9)
    elif not (isinstance(leaf, IntRange) and leaf.log):
        assert abs(found - place) <= 0.5 / number + 1e-9


@pytest.mark.parametrize("leaf", LEAVES)
def test_every_value_of_a_discrete_leaf_can_be_drawn(leaf: Range) -> None:
    number = count(leaf)
    if number is not None:
        values = [nth(leaf, index) for index in range(number)]
        assert {repr(value_at(leaf, place / 20_000)) for place in range(20_000)} == {repr(value) for value in values}


def test_steps_of_a_tenth_are_the_numbers_as_written() -> None:
    leaf = FloatRange(*AT, 0.0, 0.5, 0.1, False)
    assert [nth(leaf, index) for index in range(6)] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_a_fixed_leaf_has_one_value() -> None:
    assert (count(Fixed(*AT, 7)), coordinate(Fixed(*AT, 7), None)) == (1, 0.5)


def test_a_grid_holds_each_configuration_once(tmp_path: Path) -> None:
    text = SPACE.replace("penalty: {float: [1e-4, 1e-1], log: true}", "penalty: 0.1").replace(
        "learning_rate: {float: [1e-3, 0.1], log: true}", "learning_rate: {choice: [0.01, 0.1]}"
    )
    text = text.replace("{int: [128, 512], log: true}", "{choice: [128, 512]}").replace("{int: [8, 60]}", "8")
    space = load_text(tmp_path, text)
    check_grid(space)
    points = list(grid_points(space))
    # modalities x fusion (1 + 2 + 1) x encoder (1 + 4 x 6 x 2) x frames x pooling x clip_norm x learning_rate
    assert grid_size(space) == len(points) == 2 * 4 * 49 * 2 * 2 * 2 * 2
    assert len({str(point) for point in points}) == len(points)
    for point in points[::500]:
        proposal = planned(space, point)
        assert proposal.params == point
        TrialConfig.model_validate(proposal.config)


def test_a_grid_has_no_continuous_parameters(tmp_path: Path) -> None:
    space = load_text(tmp_path, SPACE)
    assert grid_size(space) is None
    with pytest.raises(ConfigError, match=r"fusion\.projection\.penalty, optimizer\.learning_rate"):
        check_grid(space)


@pytest.mark.thorough
def test_sobol_points_do_not_depend_on_those_before() -> None:
    first = [sobol_point(3, 2**40, index) for index in range(8)]
    assert sobol_point(3, 2**40, 5) == first[5]
    assert [sorted(int(8 * place) for place in axis) for axis in zip(*first, strict=True)] == [list(range(8))] * 3
    assert sobol_point(3, 1, 5) != first[5]


def test_cmaes_moves_to_where_values_are_high() -> None:
    told: list[tuple[list[float], float]] = []
    for number in range(120):
        point = cmaes_point(2, told, number)
        told.append((point, -((point[0] - 0.8) ** 2) - (point[1] - 0.3) ** 2))
    last = [point for point, _ in told[-12:]]
    assert all(abs(x - 0.8) < 0.1 and abs(y - 0.3) < 0.1 for x, y in last)
    assert all(0 <= place <= 1 for point, _ in told for place in point)
