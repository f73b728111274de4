"""The ensembles of a sweep: members, the growth curve, and the ways to combine beside each other."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes

from dmlray.ensemble.precision import PRECISIONS
from dmlray.ensemble.report import EnsembleReport, Figures
from dmlray.report.blocks import Block, Figure, Section, Table, Text
from dmlray.report.classes import class_blocks
from dmlray.report.content import Content
from dmlray.report.plot import BLUE, GREEN, GREY, ORANGE, SMALL, WIDE, draw, legend_above, whole_numbers

if TYPE_CHECKING:
    from dmlray.report.measures import Measures


def ensembles_section(content: Content) -> Section:
    """Every ensemble that was saved, by name."""
    blocks: list[Block] = []
    for name, report in content.ensembles.items():
        blocks += [Text(f"Ensemble {name}", "heading"), *_ensemble(report, content.measures.get(name))]
    if not blocks:
        command = f"dmlray ensemble {content.config.name} --top 5"
        blocks.append(Text(f"No ensemble has been chosen from this sweep yet: {command}"))
    return Section("Ensembles", blocks)


def ensemble_pictures(report: EnsembleReport) -> dict[str, bytes]:
    """The pictures of an ensemble as SVG, by file name."""
    pictures = (block for block in _ensemble(report) if isinstance(block, Figure))
    return {f"{picture.title.lower()}.svg": draw(picture.paint, picture.size) for picture in pictures}


def _ensemble(report: EnsembleReport, measures: "Measures | None" = None) -> Iterator[Block]:
    for sentence in (report.summary, *report.notes):
        yield Text(sentence)
    yield _ways(report)
    yield _members(report)
    yield _growth(report, measures)
    yield _weights(report)
    if len(report.disagreement) > 1:
        yield _disagreement(report)
    if measures is not None:
        yield from class_blocks(measures, report.shown(report.best_single))


def _ways(report: EnsembleReport) -> Table:
    words: dict[str, str] = {
        "ensemble": "this ensemble",
        "best_single": f"best single trial ({report.shown(report.best_single)})",
        "paper": f"the {report.top} best by own GAP, GAP-proportional",
        "top": f"the {report.top} best by own GAP, equal weights",
        "uniform": "its own members, equal weights",
        "all": "all candidates, equal weights",
        "from_stores": "this ensemble, from stored best classes alone",
        **{bits: f"this ensemble, its members stored in {bits}" for bits in PRECISIONS},
        "scale_none": "chosen and blended without temperatures",
        "scale_temperature": "chosen and blended with temperatures",
    }
    head = ("way", "members", *(f"{part} ({count:,} videos)" for part, count in report.videos.items()))
    rows = [(words.get(way, way), *_cells(figures)) for way, figures in report.figures.items()]
    return Table(
        "GAP@20 of the ways to combine; all were chosen on the selection part alone", head, rows, frozenset(head[1:])
    )


def _cells(figures: Figures) -> tuple[str, ...]:
    values = (
        (figures.selection, None),
        (figures.report, figures.report_interval),
        (figures.test, figures.test_interval),
    )
    return (str(figures.members), *(_cell(*value) for value in values))


def _cell(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" + (f" ({interval[0]:.4f} to {interval[1]:.4f})" if interval else "")


def _members(report: EnsembleReport) -> Table:
    head = ("trial", "own GAP", "weight", "temperature", "picks", "gain", "left out", "model")
    rows = [
        (
            report.shown(member.trial),
            f"{member.gap:.4f}",
            f"{member.weight:.4f}",
            f"{member.temperature:.2f}",
            str(member.picks),
            f"{member.gain:+.4f}",
            "" if member.leave_one_out is None else f"{-member.leave_one_out:+.4f}",
            member.name,
        )
        for member in report.members
    ]
    title = (
        "Members (GAP and gain on the selection part; left out: what the ensemble's GAP on the report part changes by)"
    )
    return Table(title, head, rows, frozenset(head[:-1]))


def _growth(report: EnsembleReport, measures: "Measures | None") -> Figure:
    kept = [pick for pick in report.curve if pick.kept]
    single, last = report.figures["best_single"].selection, kept[-1].gap
    dropped = len(report.curve) - len(kept)
    sentence = (
        f"{len(kept)} picks lifted GAP on the selection part from {kept[0].gap:.4f} to {last:.4f}, "
        f"{last - single:+.4f} over the best single trial; "
    )
    sentence += f"the {dropped} after them did not help and were left out." if dropped else "every pick was kept."
    if measures is not None:
        end = measures.growth[-1]
        sentence += (
            f" On {measures.growth_videos:,} videos that it never saw: from {measures.growth[0].gap:.4f} to "
            f"{end.gap:.4f}, 95 % interval {end.low:.4f} to {end.high:.4f} (each pick counts alike, by stored classes)."
        )

    def paint(axes: Axes) -> None:
        gaps = [pick.gap for pick in report.curve]
        steps = list(range(1, len(gaps) + 1))
        axes.axhline(single, color=GREY, linestyle="--", linewidth=1.2, label="best single trial")
        axes.plot(
            steps[len(kept) - 1 :], gaps[len(kept) - 1 :], color=ORANGE, marker="o", mfc="white", label="left out"
        )
        axes.plot(steps[: len(kept)], gaps[: len(kept)], color=BLUE, marker="o", label="kept")
        if measures is not None:
            _unseen(axes, steps, measures)
        whole_numbers(axes)
        axes.set_xlabel("pick")
        axes.set_ylabel("GAP@20" if measures else "GAP@20 on the selection part")
        legend_above(axes)

    return Figure("Growth", sentence, paint, WIDE if measures else SMALL)


def _unseen(axes: Axes, steps: Sequence[int], measures: "Measures") -> None:
    low, high = [step.low for step in measures.growth], [step.high for step in measures.growth]
    places = steps[: len(low)]
    axes.fill_between(places, low, high, color=GREEN, alpha=0.18, linewidth=0, label="95 % interval")
    axes.plot(places, [step.gap for step in measures.growth], color=GREEN, marker="s", label="videos never seen")


def _weights(report: EnsembleReport) -> Figure:
    shares = [member.weight for member in report.members]
    heaviest = max(report.members, key=lambda member: member.weight)
    even = max(shares) - min(shares) < 0.1 / len(shares)
    sentence = f"Weights of {len(shares)} members by the rule {report.weights}: "
    sentence += (
        "nearly equal, so it is the choice of members that counts"
        if even
        else f"trial {report.shown(heaviest.trial)} has most"
    )
    sentence += f" ({min(shares):.3f} to {max(shares):.3f})."

    def paint(axes: Axes) -> None:
        members = report.members[::-1]
        names = [f"trial {report.shown(member.trial)}" for member in members]
        bars = axes.barh(names, [member.weight for member in members], color=BLUE, height=0.6)
        axes.bar_label(bars, fmt="%.3f", padding=3, fontsize=8)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.15)
        axes.set_xlabel("weight (all sum to 1)")

    return Figure("Weights", sentence, paint, SMALL)


def _disagreement(report: EnsembleReport) -> Figure:
    shares = np.array(report.disagreement)
    apart = shares[np.triu_indices(len(shares), 1)]
    names = [report.shown(member.trial) for member in report.members]
    one, other = (int(place) for place in np.unravel_index(shares.argmax(), shares.shape))
    sentence = (
        f"Of a video's 20 best classes two members differ in {apart.mean():.0%} on average, from {apart.min():.0%} to "
        f"{apart.max():.0%}; trials {names[one]} and {names[other]} differ most."
    )

    def paint(axes: Axes) -> None:
        places = [place + 0.5 for place in range(len(names))]
        axes.pcolormesh(shares, cmap="Blues", vmin=0)
        axes.invert_yaxis()
        axes.set_xticks(places, names)
        axes.set_yticks(places, names)
        axes.grid(visible=False)
        for row, column in np.ndindex(*shares.shape):
            dark = shares[row, column] > shares.max() / 2
            axes.text(
                column + 0.5,
                row + 0.5,
                f"{shares[row, column]:.0%}",
                ha="center",
                va="center",
                color="w" if dark else "k",
            )
        axes.set_xlabel("trial")
        axes.set_ylabel("trial")

    return Figure("Disagreement", sentence, paint, SMALL)
