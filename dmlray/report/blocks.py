"""What a report is made of: sections of blocks, the same for every format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from matplotlib.axes import Axes

from dmlray.report.plot import WIDE


@dataclass(frozen=True)
class Text:
    """A paragraph; ``tone`` sets it apart."""

    text: str
    tone: Literal["plain", "heading", "note", "warning"] = "plain"
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Table:
    """Rows of ready text under ``head``; columns named in ``numbers`` stand right; ``folded``, behind ``title``."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[str] = frozenset()
    folded: bool = False
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Figure:
    """A picture, and the one sentence that says what it shows for this sweep; small ones stand side by side."""

    title: str
    sentence: str
    paint: Callable[[Axes], None]  # on empty axes
    size: tuple[float, float] = WIDE
    kind: ClassVar[str] = "figure"

    @property
    def is_small(self) -> bool:
        """Whether it shares its line with others."""
        return self.size[0] < WIDE[0]


@dataclass(frozen=True)
class Listing:
    """A file's text as it stands, behind its title."""

    title: str
    text: str
    kind: ClassVar[str] = "listing"


Block = Text | Table | Figure | Listing


@dataclass(frozen=True)
class Section:
    """A part of the report with a heading."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """Its address in the page."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())
