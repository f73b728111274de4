"""The table of a session's rows, printed at its end and written where the README's copy comes from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from tests.faults.invariants import Tally

RESULTS = Path(__file__).parents[2] / "results"
HOSTS = "3 hosts"  # what rows of `make test-cluster` run on
_HEAD = "| row | fault | injection points | on | held | lost | repeated | steps again | s |"
_RULE = "| ---: | --- | --- | --- | ---: | ---: | ---: | ---: | ---: |"


@dataclass
class Row:
    """One test of the matrix; ``lost`` and ``repeated`` are trials, ``steps`` training steps that were done again."""

    number: str
    fault: str
    point: str
    on: str
    tally: Tally | None = None
    remark: str = ""
    result: str = "not run"  # held, BROKEN, skipped
    seconds: float = 0.0

    @property
    def fault_of(self) -> tuple[bool, str, str, str]:
        """What makes one line of the table: numbers first, the control after them."""
        return not self.number.isdigit(), self.number.zfill(5), self.fault, self.on


@dataclass
class Summary:
    """All rows of a session."""

    rows: list[Row] = field(default_factory=list)

    @property
    def out(self) -> Path:
        """Where its table goes."""
        return RESULTS / ("cluster.md" if all(row.on == HOSTS for row in self.rows) else "faults.md")

    def markdown(self) -> str:
        """One line for each fault and what it ran on, its injection points together."""
        ordered = sorted(self.rows, key=lambda row: row.fault_of)
        lines = [_line(list(rows)) for _, rows in groupby(ordered, key=lambda row: row.fault_of)]
        return "\n".join([_HEAD, _RULE, *lines]) + "\n"


def _line(rows: Sequence[Row]) -> str:
    points = "; ".join(f"{row.point}{f' ({row.remark})' if row.remark else ''}{_mark(row)}" for row in rows)
    held = f"{sum(row.result == 'held' for row in rows)}/{len(rows)}"
    tallies = [row.tally for row in rows if row.tally is not None]
    counts = [sum(column) for column in zip(*tallies, strict=True)] if tallies else ["", "", ""]
    seconds = f"{sum(row.seconds for row in rows) / len(rows):.0f}"
    first = rows[0]
    return "| " + " | ".join(map(str, (first.number, first.fault, points, first.on, held, *counts, seconds))) + " |"


def _mark(row: Row) -> str:
    return "" if row.result == "held" else f" **{row.result}**"
