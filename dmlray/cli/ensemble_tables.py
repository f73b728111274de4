"""What `dmlray ensemble` prints for people: members, ways to combine, what less memory or time would buy."""

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dmlray.ensemble.report import EnsembleReport


def print_ensemble(report: EnsembleReport) -> None:
    """The tables, then the verdict and its notes."""
    console = Console(highlight=False)
    console.print(_members(report))
    console.print(_ways(report))
    if report.front:
        console.print(_front(report))
    for sentence in (report.summary, *report.notes):
        console.print(sentence, markup=False)


def _members(report: EnsembleReport) -> Table:
    heads = ("trial", "GAP", "weight", "picks", "gain", "without", "model")
    table = Table(*heads, box=box.SIMPLE_HEAD, title="members")
    for member in report.members:
        cells = [f"{member.gap:.4f}", f"{member.weight:.4f}", str(member.picks), f"{member.gain:+.4f}"]
        cells.append("" if member.leave_one_out is None else f"{-member.leave_one_out:+.4f}")
        table.add_row(report.shown(member.trial), *cells, escape(member.name))
    return table


def _ways(report: EnsembleReport) -> Table:
    parts = [f"{part} ({count:,})" for part, count in report.videos.items()]
    table = Table("GAP@20 on (videos)", "members", *parts, box=box.SIMPLE_HEAD, title="ways to combine")
    for way, figures in report.figures.items():
        values = (figures.selection, figures.report, figures.test)
        halves = (None, figures.half_width(figures.report_interval), figures.half_width(figures.test_interval))
        table.add_row(way, str(figures.members), *map(_with_half, values, halves))
    return table


def _front(report: EnsembleReport) -> Table:
    table = Table("GAP (selection)", "MB", "ms a video", "trials", box=box.SIMPLE_HEAD, title="less memory or time")
    for point in report.front:
        trials = ", ".join(map(report.shown, point.trials))
        table.add_row(f"{point.gap:.4f}", f"{point.mb:,.2f}", f"{point.ms_per_video:.3f}", trials)
    return table


def _with_half(value: float | None, half: float | None) -> str:
    return "" if value is None else f"{value:.4f}" + ("" if half is None else f" ±{half:.4f}")
