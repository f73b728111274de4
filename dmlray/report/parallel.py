"""Parallel coordinates: each complete trial a line through its parameters, coloured by its GAP."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes

from dmlray.report.blocks import Figure
from dmlray.report.content import Content
from dmlray.report.parameters import Parameter, Point, points
from dmlray.report.plot import WIDE, shorten

MOST = 8  # axes, GAP's not counted
FEWEST = 3  # trials
_COLOURS = "viridis"


def parallel_figure(content: Content) -> Figure | None:
    """The searched parameters of complete trials side by side; None for too few trials or parameters."""
    trials = content.complete
    found = {
        parameter: {point.trial: point for point in points(parameter, trials)}
        for parameter in _chosen(content.parameters, content.importances)
    }
    found = {parameter: by_trial for parameter, by_trial in found.items() if by_trial}
    gaps = {trial.number: trial.best_so_far for trial in trials if trial.best_so_far is not None}
    if len(gaps) < FEWEST or len(found) < 2:
        return None

    def paint(axes: Axes) -> None:
        low, high = min(gaps.values()), max(gaps.values())
        heights = [_heights(parameter, list(by_trial.values())) for parameter, by_trial in found.items()]
        for trial in sorted(gaps, key=gaps.__getitem__):  # the best on top
            share = (gaps[trial] - low) / (high - low) if high > low else 1.0
            line = [(place, own[trial]) for place, own in enumerate(heights) if trial in own] + [(len(found), share)]
            places, values = zip(*line, strict=True)  # only where the trial has the parameter
            axes.plot(
                places,
                values,
                marker="o",
                markersize=3,
                color=mpl.colormaps[_COLOURS](0.95 * share),
                alpha=0.35 + 0.6 * share,
                linewidth=1 + share,
            )
        for place, (parameter, by_trial) in enumerate(found.items()):
            _axis(axes, place, _ticks(parameter, list(by_trial.values())))
        _axis(axes, len(found), [(0.0, f"{low:.4f}"), (1.0, f"{high:.4f}")])
        axes.set_xticks(
            range(len(found) + 1), [*(shorten(parameter.name, 20) for parameter in found), "GAP"], rotation=12
        )
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.margins(y=0.08)
        axes.grid(visible=False)

    return Figure("Parallel coordinates", _sentence(found, gaps), paint, (WIDE[0], 3.9))


def _chosen(parameters: Sequence[Parameter], importances: Mapping[str, float]) -> list[Parameter]:
    """The most important ones, in the space's order; without importances, the first."""
    ranked = sorted(parameters, key=lambda parameter: -importances.get(parameter.name, 0.0))[:MOST]
    return [parameter for parameter in parameters if parameter in ranked]


def _heights(parameter: Parameter, found: Sequence[Point]) -> dict[int, float]:
    """Where each trial crosses the axis, from 0 to 1."""
    if parameter.options:
        options = _options(parameter, found)
        return {point.trial: options.index(point.text) / max(1, len(options) - 1) for point in found}
    values = {point.trial: math.log(point.x) if parameter.log else point.x for point in found}
    low, high = min(values.values()), max(values.values())
    return {trial: (value - low) / (high - low) if high > low else 0.5 for trial, value in values.items()}


def _options(parameter: Parameter, found: Sequence[Point]) -> list[str]:
    return list(dict.fromkeys((*parameter.options, *(point.text for point in found))))


def _ticks(parameter: Parameter, found: Sequence[Point]) -> list[tuple[float, str]]:
    if parameter.options:
        options = _options(parameter, found)
        return [(place / max(1, len(options) - 1), shorten(option, 14)) for place, option in enumerate(options)]
    low, high = min(point.x for point in found), max(point.x for point in found)
    return [(0.0, f"{low:.3g}"), (1.0, f"{high:.3g}")] if high > low else [(0.5, f"{low:.3g}")]


def _axis(axes: Axes, place: int, ticks: Sequence[tuple[float, str]]) -> None:
    axes.axvline(place, color="#9aa0a8", linewidth=0.8, zorder=0)
    for height, text in ticks:
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.8, "linewidth": 0}
        axes.text(place, height, text, ha="center", va="center", fontsize=7.5, bbox=box, zorder=6)


def _sentence(found: Mapping[Parameter, Mapping[int, Point]], gaps: Mapping[int, float]) -> str:
    """What sets the best quarter of the trials apart most: the option that it has so much more often than all have."""
    best = sorted(gaps, key=lambda trial: (-gaps[trial], trial))[: math.ceil(len(gaps) / 4)]
    lines = (
        f"Each line is one of {len(gaps)} complete trials, the brighter the better; dots are parameters that it has."
    )
    lifts = []
    for parameter, by_trial in found.items():
        if parameter.options:
            counts = Counter(by_trial[trial].text for trial in best if trial in by_trial)
            every = Counter(point.text for point in by_trial.values())
            lifts += [
                (counts[option] / len(best) - every[option] / len(gaps), parameter.name, option) for option in counts
            ]
    if not lifts or max(lifts)[0] < 0.15:
        return f"{lines} No option is much more frequent among the best {len(best)} than among all."
    _, name, option = max(lifts)
    among = [sum(each.text == option for each in _of(found, name, group)) for group in (best, list(gaps))]
    return f"{lines} Of the best {len(best)}, {among[0]} have {name} {option}; of all, {among[1]}."


def _of(found: Mapping[Parameter, Mapping[int, Point]], name: str, trials: Sequence[int]) -> list[Point]:
    by_trial = next(by_trial for parameter, by_trial in found.items() if parameter.name == name)
    return [by_trial[trial] for trial in trials if trial in by_trial]
