"""Where the time of the trials went."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from matplotlib.axes import Axes

from dmlray.report.blocks import Figure, Section, Text
from dmlray.report.content import Content
from dmlray.report.plot import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, legend_above, time_unit, whole_numbers
from dmlray.sweep.records import TrialRecord
from dmlray.sweep.summary import duration_s, span

_PARTS = {
    "training": BLUE,
    "waiting for data": ORANGE,
    "evaluation": GREEN,
    "checkpoints": PURPLE,
    "start-up": RED,
    "other": GREY,
}


@dataclass(frozen=True)
class Cost:
    """Seconds of one trial by part.

    ``start-up`` is opening, building and restoring; ``other`` what no report accounts for: the start of the worker's
    processes and the time between epochs. It is 0 for a trial that was interrupted or has not ended, of which it is
    unknown.
    """

    trial: int
    seconds: Mapping[str, float]

    @property
    def total_s(self) -> float:
        """All that is known of."""
        return sum(self.seconds.values())


def cost_of(trial: TrialRecord) -> Cost:
    """Sum a trial's epochs up. Trials of older versions timed training and waiting alone: the rest is ``other``."""
    epochs = [metrics for _, metrics in trial.curve]
    waited = sum(epoch.get("epoch_s", 0.0) * epoch.get("wait_share", 0.0) for epoch in epochs)
    trained = (duration_s(trial) or 0.0) - waited
    evaluated, kept, started = (
        sum(epoch.get(name, 0.0) for epoch in epochs) for name in ("evaluation_s", "checkpoint_s", "startup_s")
    )
    known = (trained, waited, evaluated + trial.metrics.get("test_s", 0.0), kept, started)
    other = 0.0
    if trial.attempts == 1 and trial.started and trial.finished:
        other = max(0.0, (trial.finished - trial.started).total_seconds() - sum(known))
    return Cost(trial.number, dict(zip(_PARTS, (*known, other), strict=True)))


def costs_section(content: Content) -> Section:
    """Training, waiting for data, evaluation, checkpoints, start-up and the rest, by trial and in all."""
    costs = [cost_of(trial) for trial in content.trials if trial.curve]
    total = sum(cost.total_s for cost in costs)
    if not total:
        return Section("Where the time went", [Text("No epoch has been timed yet.")])
    return Section("Where the time went", [Figure("Time by trial", _sentence(costs, total), _painter(costs))])


def _sentence(costs: list[Cost], total: float) -> str:
    shares = {part: sum(cost.seconds[part] for cost in costs) / total for part in _PARTS}
    told = ", ".join(f"{part} {share:.0%}" for part, share in shares.items())
    longest = max(costs, key=lambda cost: (cost.total_s, -cost.trial))
    return (
        f"Of {span(total)} in {len(costs)} trials: {told} (the worker's start and the time between epochs); "
        f"trial {longest.trial} took longest, {span(longest.total_s)}."
    )


def _painter(costs: list[Cost]) -> Callable[[Axes], None]:
    divisor, unit = time_unit(max(cost.total_s for cost in costs))
    numbers = [cost.trial for cost in costs]

    def paint(axes: Axes) -> None:
        below = [0.0] * len(costs)
        for part, colour in _PARTS.items():
            heights = [cost.seconds[part] / divisor for cost in costs]
            if any(heights):
                axes.bar(numbers, heights, bottom=below, color=colour, width=0.8, label=part)
            below = [low + height for low, height in zip(below, heights, strict=True)]
        whole_numbers(axes)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("trial number")
        axes.set_ylabel(f"time ({unit})")
        legend_above(axes)

    return paint
