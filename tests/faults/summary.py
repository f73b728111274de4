"""The table of a session's rows, printed at its end and written where the README's copy comes from."""

from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.invariants import Tally

OUT = Path(__file__).parents[2] / "results" / "faults.md"
_HEAD = "| row | fault | injection point | runs on | result | lost | repeated | steps again | s |"
_RULE = "| ---: | --- | --- | --- | --- | ---: | ---: | ---: | ---: |"


@dataclass
class Row:
    """One row of the matrix; ``lost`` and ``repeated`` are trials, ``steps`` training steps that were done again."""

    number: str
    fault: str
    point: str
    on: str
    tally: Tally | None = None
    remark: str = ""
    result: str = "not run"
    seconds: float = 0.0

    def line(self) -> str:
        """As Markdown."""
        counts = ("", "", "") if self.tally is None else self.tally
        result = f"{self.result}: {self.remark}" if self.remark else self.result
        cells = (self.number, self.fault, self.point, self.on, result, *counts, f"{self.seconds:.0f}")
        return "| " + " | ".join(map(str, cells)) + " |"


@dataclass
class Summary:
    """All rows of a session."""

    rows: list[Row] = field(default_factory=list)

    def markdown(self) -> str:
        """The whole table, in the matrix's order; the control's rows come last."""
        ordered = sorted(self.rows, key=lambda row: (not row.number.isdigit(), row.number.zfill(3)))
        return "\n".join([_HEAD, _RULE, *(row.line() for row in ordered)]) + "\n"
