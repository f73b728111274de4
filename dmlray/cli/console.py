"""What a command says beside its answer, on stderr: hints and progress, all of which --quiet leaves out."""

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

QUIET, VERBOSE = "DMLRAY_QUIET", "DMLRAY_VERBOSE"  # set for this process and its children
LINE_S = 10.0  # between two lines of progress where there is no terminal


def is_quiet() -> bool:
    """Whether --quiet was given."""
    return bool(os.environ.get(QUIET))


def is_verbose() -> bool:
    """Whether -v was given."""
    return bool(os.environ.get(VERBOSE))


def note(*lines: str) -> None:
    """Lines on stderr, which --quiet leaves out."""
    if lines and not is_quiet():
        print(*lines, sep="\n", file=sys.stderr)


def warn(text: str) -> None:
    """A line on stderr, quiet or not."""
    print(text, file=sys.stderr)


def to_stderr() -> "Console":
    """Rich's console for stderr: no colours where it is no terminal, or where NO_COLOR is set (https://no-color.org)."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, quiet=is_quiet())


class Bar:
    """How far a job has come and what is left of its time: a bar on a terminal, elsewhere a plain line now and then."""

    def __init__(self, what: str, unit: str, console: "Console | None" = None) -> None:
        """``unit`` is what is counted; ``bytes`` are shown as a share of all."""
        self._what, self._unit = what, unit
        self._console = console or to_stderr()
        self._bar = _bar(what, unit, self._console) if self._console.is_terminal else None
        self._task = self._bar.add_task(what, total=None, note="") if self._bar else None
        self._start = self._told = time.monotonic()

    def __enter__(self) -> "Bar":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, done: float, total: float, text: str = "") -> None:
        """``done`` of ``total`` so far; ``text`` says more, such as a rate."""
        now = time.monotonic()
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, note=text)
        elif now - self._told >= LINE_S or done >= total:
            self._told = now
            self._console.print(self._line(done, total, text, now - self._start), soft_wrap=True, markup=False)

    def _line(self, done: float, total: float, text: str, spent: float) -> str:
        from dmlray.sweep.summary import span

        share = f"{done / max(total, 1):.0%}" if self._unit == "bytes" else f"{done:,} of {total:,} {self._unit}"
        left = f"about {span(spent / done * (total - done))} left" if 0 < done < total else ""
        return ", ".join(part for part in (f"{self._what}: {share}", text, left) if part)


def _bar(what: str, unit: str, console: "Console") -> "Progress":
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    counted = (DownloadColumn(),) if unit == "bytes" else (MofNCompleteColumn(), unit)
    return Progress(
        what, BarColumn(), *counted, TextColumn("{task.fields[note]}"), TimeRemainingColumn(), console=console
    )
