"""Which classes gain by an ensemble, and which lose."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from dmlray.report.blocks import Block, Figure, Table
from dmlray.report.plot import BLUE, ORANGE, WIDE, shorten

if TYPE_CHECKING:
    from dmlray.report.measures import ClassGain, Measures

LEAST = 5  # videos of a class, below which its AP says little
SHOWN = 8  # at each end


def class_blocks(measures: "Measures", best_single: str) -> Iterator[Block]:
    """A picture of the classes at both ends, and a folded table of those compared; nothing where none has videos."""
    compared = [each for each in measures.classes if each.videos >= LEAST]
    if not compared:
        return
    ranked = sorted(compared, key=lambda each: (-each.gain, each.label))
    yield _figure(ranked, measures.class_videos, best_single)
    rows = [
        (
            each.name,
            str(each.label),
            f"{each.videos:,}",
            f"{each.single:.4f}",
            f"{each.ensemble:.4f}",
            f"{each.gain:+.4f}",
        )
        for each in (ranked if len(ranked) <= 100 else [*ranked[:50], *ranked[-50:]])
    ]
    title = (
        f"AP by class: {'the 50 that gain most and the 50 that gain least' if len(ranked) > 100 else 'all compared'}"
    )
    head = ("class", "label", "videos", f"trial {best_single}", "ensemble", "gain")
    yield Table(title, head, rows, frozenset(head[1:]), folded=True)


def _figure(ranked: "Sequence[ClassGain]", videos: int, best_single: str) -> Figure:
    gained, lost = (sum(sign * each.gain > 0 for each in ranked) for sign in (1, -1))
    before, after = (
        float(np.mean(values)) for values in zip(*((each.single, each.ensemble) for each in ranked), strict=True)
    )
    sentence = (
        f"Of {len(ranked)} classes with at least {LEAST} of {videos:,} videos that the selection never saw, {gained} "
        f"rank better by the ensemble than by trial {best_single} and {lost} worse; their mean AP goes from "
        f"{before:.4f} to {after:.4f}. "
        f"Most is gained by {_told(ranked[0])}, least by {_told(ranked[-1])}."
    )
    shown = list(ranked) if len(ranked) <= 2 * SHOWN else [*ranked[:SHOWN], *ranked[-SHOWN:]]

    def paint(axes: Axes) -> None:
        places = range(len(shown))[::-1]
        gains = [each.gain for each in shown]
        axes.barh(list(places), gains, color=[BLUE if gain >= 0 else ORANGE for gain in gains], height=0.7)
        axes.set_yticks(list(places), [f"{shorten(each.name, 30)} ({each.videos:,})" for each in shown])
        axes.axvline(0, color="#2b3038", linewidth=0.8)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"AP of the ensemble less AP of trial {best_single}, by class (its videos)")

    return Figure("Classes", sentence, paint, (WIDE[0], 0.9 + 0.22 * len(shown)))


def _told(each: "ClassGain") -> str:
    return f"{each.name} ({each.gain:+.4f})"
