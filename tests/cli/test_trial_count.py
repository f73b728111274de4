"""--trials: a number in all, or so many more."""

import pytest
import typer

from dmlray.cli.options import TrialCount
from dmlray.errors import UsageError


def test_in_all_and_more() -> None:
    assert TrialCount.parse("20").in_all(5) == TrialCount.parse("20").in_all() == 20
    assert TrialCount.parse("+20").in_all(5) == 25
    assert [str(TrialCount.parse(text)) for text in ("20", "+20")] == ["20", "+20"]


def test_a_new_sweep_has_nothing_to_add_to() -> None:
    with pytest.raises(UsageError, match=r"--trials \+20 goes with --resume NAME; a new sweep takes --trials 20"):
        TrialCount.parse("+20").in_all()


@pytest.mark.parametrize("text", ["0", "-3", "+0", "2.5", "++2", "many", "", "99999999999"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="20 or, with --resume NAME"):
        TrialCount.parse(text)
