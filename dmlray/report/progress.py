"""How the sweep went: GAP against trials and against training time, and the learning curves."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from matplotlib.axes import Axes

from dmlray.report.blocks import Figure, Section, Text
from dmlray.report.content import Content
from dmlray.report.plot import GREEN, STATE_STYLE, VAL_GAP, legend_above, time_unit, whole_numbers
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.summary import duration_s, ranking, span


def progress_section(content: Content) -> Section:
    """The sweep's course; a sentence alone while nothing has been reported."""
    if not content.valued:
        return Section("Progress", [Text("No trial has finished an epoch with a GAP yet: there is nothing to draw.")])
    timed = [_by_time(content)] if any(duration_s(trial) for trial in content.valued) else []
    return Section("Progress", [_by_trial(content), *timed, _learning_curves(content)])


def _by_trial(content: Content) -> Figure:
    trials = content.valued
    best = ranking(trials)[0]
    later = sum(trial.number > best.number for trial in trials)
    after = f"the {later} after it did not improve on it" if later > 1 else "it is among the last that reported"
    sentence = (
        f"Of {len(trials)} trial{'s' if len(trials) != 1 else ''} with a GAP, trial {best.number} has the best, "
        f"{best.best_so_far or 0:.4f}; {after}."
    )

    def paint(axes: Axes) -> None:
        _scatter(axes, [float(trial.number) for trial in trials], trials)
        whole_numbers(axes)
        axes.set_xlabel("trial number")

    return Figure("GAP by trial", sentence, paint)


def _by_time(content: Content) -> Figure:
    trials = sorted(content.valued, key=_end)
    resources = content.config.resources
    device, count = ("GPU", resources.gpus_per_trial) if resources.gpus_per_trial else ("CPU", resources.cpus_per_trial)
    spent = list(accumulate((duration_s(trial) or 0.0) * count for trial in trials))
    divisor, unit = time_unit(spent[-1])
    best = ranking(trials)[0]
    sentence = (
        f"The best trial ended after {span(spent[trials.index(best)])} of {device} time spent on training, "
        f"of {span(spent[-1])} in all ({count:g} {device} per trial)."
    )

    def paint(axes: Axes) -> None:
        _scatter(axes, [seconds / divisor for seconds in spent], trials)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"{device} time spent on training, trials in the order of their end ({unit})")

    return Figure(f"GAP by {device} time", sentence, paint)


def _end(trial: TrialRecord) -> tuple[float, int]:
    return (trial.finished.timestamp() if trial.finished else math.inf, trial.number)


def _scatter(axes: Axes, places: Sequence[float], trials: Sequence[TrialRecord]) -> None:
    gaps = [trial.best_so_far or 0.0 for trial in trials]
    axes.step(places, list(accumulate(gaps, max)), where="post", color=GREEN, linewidth=1.8, label="best so far")
    for state, (colour, marker, word) in STATE_STYLE.items():
        chosen = [place for place, trial in enumerate(trials) if trial.state is state]
        if chosen:
            x, y = [places[i] for i in chosen], [gaps[i] for i in chosen]
            axes.scatter(
                x, y, s=26, color=colour, marker=marker, edgecolor="white", linewidth=0.5, label=word, zorder=3
            )
    axes.set_ylabel(VAL_GAP)
    axes.margins(y=0.08)
    legend_above(axes)


def _learning_curves(content: Content) -> Figure:
    trials = content.valued
    best = ranking(trials)[0]

    def paint(axes: Axes) -> None:
        for state, (colour, marker, word) in STATE_STYLE.items():
            curves = [trial.history for trial in trials if trial.state is state and trial is not best]
            alpha = min(0.6, 30 / len(trials))  # many lines must leave the crowd readable
            _curves(axes, curves, colour, word, marker=marker, alpha=max(0.15, alpha), linewidth=1.1, markersize=4.5)
        word, marker = f"best (trial {best.number})", STATE_STYLE[best.state][1]
        _curves(axes, [best.history], GREEN, word, marker=marker, linewidth=2.4, markersize=7, zorder=5)
        whole_numbers(axes)
        axes.set_xlabel("epoch")
        axes.set_ylabel(VAL_GAP)
        legend_above(axes)

    return Figure("Learning curves", _curves_sentence(content, best), paint)


def _curves(
    axes: Axes, curves: Sequence[Sequence[tuple[int, float]]], colour: str, word: str, marker: str, **style: Any
) -> None:
    """A line for each curve, marked at its end; one entry in the legend for all."""
    for place, curve in enumerate(curves):
        epochs, gaps = zip(*curve, strict=True)
        label = word if place == 0 else None
        axes.plot(epochs, gaps, color=colour, marker=marker, markevery=[-1], markeredgewidth=0, label=label, **style)


def _curves_sentence(content: Content, best: TrialRecord) -> str:
    wanted = best.config.get("epochs", len(best.curve))
    reached = max(best.history, key=lambda point: (point[1] if math.isfinite(point[1]) else -math.inf, -point[0]))[0]
    text = (
        f"The best trial, {best.number}, reached its GAP of {best.best_so_far or 0:.4f} at epoch {reached} of {wanted}"
    )
    stopped = Counter(
        trial.curve[-1][0] for trial in content.trials if trial.state is TrialState.pruned and trial.curve
    )
    if not stopped:
        return f"{text}; no trial was stopped early."
    when = ", ".join(f"{count} after epoch {epoch}" for epoch, count in sorted(stopped.items()))
    return f"{text}; {sum(stopped.values())} of {len(content.trials)} trials were stopped early: {when}."
