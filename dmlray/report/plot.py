"""How pictures look: one style for all, drawn without a display, as SVG that refers to nothing outside itself."""

import io
from collections.abc import Callable
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from dmlray.sweep.records import TrialState

# Okabe and Ito (2008): told apart under every common colour blindness.
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#8a8f98"
WIDE, SMALL = (8.6, 3.4), (3.7, 2.6)  # inches
VAL_GAP = "validation GAP@20"

STATE_STYLE: dict[Any, Any] = {  # colour, marker, word
    TrialState.complete: (BLUE, "o", "complete"),
    TrialState.pruned: (ORANGE, "v", "stopped early"),
    TrialState.failed: (RED, "X", "failed"),
    TrialState.running: (GREY, "s", "unfinished"),
    TrialState.waiting: (GREY, "s", "unfinished"),
}

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa0a8",
    "axes.labelcolor": "#2b3038",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.8,
    "xtick.color": "#555b65",
    "ytick.color": "#555b65",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "dmlray",  # the same figure gives the same bytes
    "text.parse_math": False,  # a `$` in a name is a `$`
}


def draw(paint: Callable[[Axes], None], size: tuple[float, float], kind: Literal["svg", "png"] = "svg") -> bytes:
    """What ``paint`` puts on empty axes of ``size`` (inches), as SVG, or as PNG of 150 dots an inch."""
    with mpl.rc_context(_STYLE):
        canvas = Canvas(figsize=size, layout="constrained")
        paint(canvas.add_subplot())
        file = io.BytesIO()
        plain = {"Date": None, "Creator": None, "Format": None, "Type": None} if kind == "svg" else {"Software": None}
        canvas.savefig(file, format=kind, dpi=150, metadata=plain)
    return file.getvalue()


def whole_numbers(axes: Axes) -> None:
    """Ticks of the x axis at whole numbers only."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def logarithmic(axes: Axes) -> None:
    """A logarithmic x axis with plain numbers: at powers of ten, or also at 2 and 5 where there are few of them."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 30 else (1.0, 2.0, 5.0), numticks=8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def legend_above(axes: Axes) -> None:
    """The legend in one line above the axes, out of the way of everything drawn."""
    axes.legend(loc="lower right", ncols=6, bbox_to_anchor=(1, 1), borderaxespad=0.2, handletextpad=0.3)


def time_unit(longest_s: float) -> tuple[float, str]:
    """Seconds in the unit that suits ``longest_s``, and its sign."""
    if longest_s < 120:
        return 1.0, "s"
    return (60.0, "min") if longest_s < 7200 else (3600.0, "h")


def shorten(text: str, length: int) -> str:
    """``text`` with its middle left out where it is longer than ``length`` letters."""
    if len(text) <= length:
        return text
    return f"{text[: length // 2]}…{text[len(text) - (length - 1 - length // 2) :]}"
