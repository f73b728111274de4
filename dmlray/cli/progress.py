"""A sweep's progress: a live line on a terminal, one plain line per event elsewhere. Always on stderr."""

from rich.console import Console
from rich.live import Live
from rich.text import Text

from dmlray.cli.console import warn
from dmlray.sweep.director import Change
from dmlray.sweep.runs import label
from dmlray.sweep.summary import Summary, span


def event_line(change: Change) -> str:
    """One event in one line of plain text."""
    trial = change.trial
    head = f"trial {trial.number:>3} {change.what:<9}"
    if change.what in ("started", "continued"):
        after = f" after epoch {trial.curve[-1][0]}" if trial.curve else ""
        return f"{head} {label(trial)}{after}"
    if change.what == "retried":
        return f"{head} it will be tried again: {change.cause}"
    if change.what == "failed":
        return f"{head} {trial.reason}: {trial.message}"
    epoch, metrics = trial.curve[-1]
    text = f"{head} epoch {epoch}/{trial.config['epochs']}  val_gap {metrics['val_gap']:.4f}"
    if trial.value is not None and trial.best_epoch is not None:
        text += f"  best {trial.value:.4f} at epoch {trial.best_epoch}"
    if change.what == "complete" and "test_gap" in trial.metrics:
        text += f"  test_gap {trial.metrics['test_gap']:.4f}"
    return text


def summary_line(summary: Summary) -> str:
    """Where the sweep stands, in one line."""
    failed = f", {summary.failed} failed" if summary.failed else ""
    best = f"best GAP {summary.best.best_so_far:.4f} (trial {summary.best.number})" if summary.best else "no GAP yet"
    left = f", about {span(summary.left_s)} left" if summary.left_s else ""
    return (
        f"{summary.complete} done, {summary.running} running, {summary.pruned} stopped early{failed}"
        f" of {summary.wanted}; {best}{left}"
    )


class SweepProgress:
    """Prints events as they come; on a terminal a line that is kept up to date stays below them.

    There the epochs only move that line, unless ``every_epoch`` is to be told.
    """

    def __init__(self, console: Console, every_epoch: bool = False) -> None:
        self._console, self._every_epoch = console, every_epoch
        self._live = Live(console=console, transient=True, refresh_per_second=4) if console.is_terminal else None

    def __enter__(self) -> "SweepProgress":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """A line above the live one."""
        self._console.print(Text(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        """The same, which --quiet does not leave out."""
        if self._console.quiet:
            warn(text)
        else:
            self.say(text)

    def show(self, change: Change, summary: Summary) -> None:
        """Tell of one event and where the sweep stands after it."""
        if self._live:
            self._live.update(Text(summary_line(summary)))
            if change.what != "epoch" or self._every_epoch:
                self.say(event_line(change))
        else:
            self.say(f"{event_line(change)} | {summary_line(summary)}")
