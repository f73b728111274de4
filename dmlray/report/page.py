"""From a sweep's content to a page: which sections there are, and how they become HTML or Markdown."""

import base64
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from html import escape
from importlib import resources
from typing import Literal, get_args

from jinja2 import Environment, StrictUndefined

from dmlray import __version__
from dmlray.errors import UsageError
from dmlray.report.blocks import Block, Figure, Listing, Section, Table, Text
from dmlray.report.content import Content
from dmlray.report.costs import costs_section
from dmlray.report.ensembles import ensembles_section
from dmlray.report.overview import failures_section, leaderboard_section, settings_section, state_section
from dmlray.report.plot import draw
from dmlray.report.progress import progress_section
from dmlray.report.search_space import parameters_section

Format = Literal["html", "md"]
SECTIONS: Sequence[Callable[[Content], Section | None]] = (
    state_section,
    leaderboard_section,
    ensembles_section,
    progress_section,
    parameters_section,
    costs_section,
    failures_section,
    settings_section,
)
WITHOUT_STUDY: Sequence[Callable[[Content], Section | None]] = (state_section, ensembles_section, settings_section)


def build_report(content: Content, made: datetime, kind: Format = "html") -> str:
    """The report on ``content`` as read at the moment ``made``: the same content gives the same text.

    HTML is whole in itself: no script, nothing loaded. Markdown has the figures' sentences instead of the figures.
    Raises UsageError for another ``kind``.
    """
    if kind not in get_args(Format):
        raise UsageError(f"--format takes one of {', '.join(get_args(Format))}, got {kind!r}")
    sections = build_sections(content)
    foot = f"Made by dmlray {__version__} at {made:%Y-%m-%d %H:%M} {made.tzname() or 'local time'}."
    if kind == "md":
        return _markdown(content.config.name, sections, foot)
    return _html(content, sections, foot)


def build_sections(content: Content) -> list[Section]:
    """All there is to say, in the order of the page."""
    makers = SECTIONS if content.has_study else WITHOUT_STUDY
    return [section for make in makers if (section := make(content)) is not None]


def build_pictures(content: Content) -> dict[str, bytes]:
    """Every figure of the report as PNG, by file name: numbers in the order of the page, then titles."""
    figures = [block for section in build_sections(content) for block in section.blocks if isinstance(block, Figure)]
    names = (re.sub(r"[^a-z0-9]+", "-", figure.title.lower()).strip("-") for figure in figures)
    return {
        f"{place:02d}-{name}.png": draw(figure.paint, figure.size, "png")
        for place, (name, figure) in enumerate(zip(names, figures, strict=True), start=1)
    }


def _html(content: Content, sections: Sequence[Section], foot: str) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["data_uri"] = _data_uri
    template = environment.from_string(resources.files("dmlray.report").joinpath("page.html").read_text("utf-8"))
    return template.render(
        name=content.config.name, state=content.state, tiles=_tiles(content), sections=sections, foot=foot
    )


def _data_uri(figure: Figure) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(draw(figure.paint, figure.size)).decode()}"


def _tiles(content: Content) -> list[tuple[str, str]]:
    """The figures that most readers come for, with their names."""
    summary = content.summary
    ended = summary.complete + summary.pruned + summary.failed
    tiles = [("trials ended", f"{ended} of {'?' if content.damage else summary.wanted}")] if content.has_study else []
    if summary.best is not None:
        tiles.append((f"best validation GAP (trial {summary.best.number})", f"{summary.best.best_so_far:.4f}"))
    reported = [
        (figures.report, name)
        for name, report in content.ensembles.items()
        if (figures := report.figures.get("ensemble")) and figures.report is not None
    ]
    if reported:
        gap, name = max(reported)
        tiles.append((f"ensemble {name}, on videos kept apart", f"{gap:.4f}"))
    return tiles


def _markdown(name: str, sections: Sequence[Section], foot: str) -> str:
    parts = [f"# Sweep {_plain(name)}"]
    for section in sections:
        parts.append(f"## {section.title}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join([*parts, foot]) + "\n"


def _block(block: Block) -> str:
    match block:
        case Text(text, tone):
            marks = {"plain": ("", ""), "heading": ("### ", "")}
            before, after = marks.get(tone, ("**", "**"))
            return f"{before}{_plain(text)}{after}"
        case Figure(title, sentence):
            return f"*{_plain(title)}.* {_plain(sentence)}"
        case Listing(title, text):
            return f"{_plain(title)}:\n\n" + "\n".join(f"    {line}" for line in text.splitlines())
        case Table(title, head, rows, numbers):
            rule = ["---:" if column in numbers else "---" for column in head]
            lines = ["| " + " | ".join(_plain(cell) for cell in row) + " |" for row in (head, rule, *rows)]
            return f"{_plain(title)}:\n\n" + "\n".join(lines)


def _plain(text: str) -> str:
    """One line that no Markdown reader takes for markup."""
    flat = escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{letter}" if letter in r"\`*_[]|" else letter for letter in flat)
