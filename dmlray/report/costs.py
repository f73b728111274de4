"""Where the time of the trials went."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.axes import Axes

from dmlray.report.blocks import Figure, Section, Text
from dmlray.report.content import Content
from dmlray.report.plot import BLUE, GREY, ORANGE, legend_above, time_unit, whole_numbers
from dmlray.sweep.records import TrialRecord
from dmlray.sweep.summary import span


@dataclass(frozen=True)
class Cost:
    """Seconds of one trial. ``rest_s`` is what its epochs do not account for: evaluation, checkpoints, start.

    It is 0 for a trial that was interrupted or has not ended, of which it is unknown.
    """

    trial: int
    training_s: float
    waiting_s: float
    rest_s: float

    @property
    def total_s(self) -> float:
        """All that is known of."""
        return self.training_s + self.waiting_s + self.rest_s


def cost_of(trial: TrialRecord) -> Cost:
    """Sum a trial's epochs up."""
    epochs = [(metrics.get("epoch_s", 0.0), metrics.get("wait_share", 0.0)) for _, metrics in trial.curve]
    spent, waiting = sum(seconds for seconds, _ in epochs), sum(seconds * share for seconds, share in epochs)
    rest = 0.0
    if trial.attempts == 1 and trial.started and trial.finished:
        rest = max(0.0, (trial.finished - trial.started).total_seconds() - spent)
    return Cost(trial.number, spent - waiting, waiting, rest)


def costs_section(content: Content) -> Section:
    """Training, waiting for data and the rest, by trial and in all."""
    costs = [cost_of(trial) for trial in content.trials if trial.curve]
    total = sum(cost.total_s for cost in costs)
    if not total:
        return Section("Where the time went", [Text("No epoch has been timed yet.")])
    return Section("Where the time went", [Figure("Time by trial", _sentence(costs, total), _painter(costs))])


def _sentence(costs: list[Cost], total: float) -> str:
    training, waiting = sum(cost.training_s for cost in costs), sum(cost.waiting_s for cost in costs)
    rest = sum(cost.rest_s for cost in costs)
    longest = max(costs, key=lambda cost: (cost.total_s, -cost.trial))
    return (
        f"Of {span(total)} in {len(costs)} trials, training took {training / total:.0%}, waiting for data "
        f"{waiting / total:.0%} and the rest (evaluation, checkpoints, start) {rest / total:.0%}; "
        f"trial {longest.trial} took longest, {span(longest.total_s)}."
    )


def _painter(costs: list[Cost]) -> Callable[[Axes], None]:
    divisor, unit = time_unit(max(cost.total_s for cost in costs))
    numbers = [cost.trial for cost in costs]
    parts = (
        ("training", BLUE, [cost.training_s / divisor for cost in costs]),
        ("waiting for data", ORANGE, [cost.waiting_s / divisor for cost in costs]),
        ("evaluation, checkpoints, start", GREY, [cost.rest_s / divisor for cost in costs]),
    )

    def paint(axes: Axes) -> None:
        below = [0.0] * len(costs)
        for word, colour, heights in parts:
            axes.bar(numbers, heights, bottom=below, color=colour, width=0.8, label=word)
            below = [low + height for low, height in zip(below, heights, strict=True)]
        whole_numbers(axes)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("trial number")
        axes.set_ylabel(f"time ({unit})")
        legend_above(axes)

    return paint
