"""What the search learnt about its parameters: importance, all of them side by side, and a slice for each."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from dmlray.report.blocks import Block, Figure, Section, Text
from dmlray.report.content import Content
from dmlray.report.parallel import parallel_figure
from dmlray.report.parameters import Parameter, Point, points, slice_sentence, spread
from dmlray.report.plot import BLUE, ORANGE, SMALL, VAL_GAP, WIDE, logarithmic, shorten
from dmlray.sweep.study import MIN_IMPORTANCE_TRIALS

ENOUGH = 50  # complete trials: then the best tenth holds five, which Optuna's documentation asks for
SHOWN = 15  # bars


def parameters_section(content: Content) -> Section:
    """Importance and slices of all searched parameters that a trial has tried."""
    if not content.parameters:
        return Section("Parameters", [Text("The space leaves nothing to search: every value is fixed.")])
    parallel = parallel_figure(content)
    blocks = [*_importance(content), *([parallel] if parallel else [])]
    if content.valued:
        blocks.append(
            Text(
                "Dots are complete trials; triangles were stopped early or have not ended: their GAP is that of "
                "a shorter training. Where there are options, the bar is the median and the line the quartiles of "
                "the complete trials."
            )
        )
    for parameter in content.parameters:
        found = points(parameter, content.trials)
        if found:
            blocks.append(_slice(parameter, found))
    return Section("Parameters", blocks)


def _importance(content: Content) -> list[Block]:
    complete = len(content.complete)
    if not content.importances:
        needed = f"{MIN_IMPORTANCE_TRIALS} complete trials are the least; there {'is' if complete == 1 else 'are'}"
        return [Text(f"Too few trials to say which parameters matter: {needed} {complete}.", "note")]
    shown = list(content.importances.items())[:SHOWN]
    first, share = shown[0]
    second = f", then {shown[1][0]} ({shown[1][1]:.0%})" if len(shown) > 1 else ""
    sentence = f"{first} did most to tell the best of {complete} complete trials from the rest ({share:.0%}){second}."

    def paint(axes: Axes) -> None:
        names, shares = zip(*reversed(shown), strict=True)
        bars = axes.barh([shorten(name, 44) for name in names], [100 * value for value in shares], color=BLUE)
        axes.bar_label(bars, fmt="%.0f %%", padding=3, fontsize=8)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.1)
        axes.set_xlabel("share of importance (%), conditional PED-ANOVA")

    figure = Figure("Importance", sentence, paint, (WIDE[0], 0.9 + 0.26 * len(shown)))
    if complete >= ENOUGH:
        return [figure]
    warning = f"With {complete} complete trials, fewer than {ENOUGH}, importance is rough and may turn over with more."
    return [Text(warning, "warning"), figure]


def _slice(parameter: Parameter, found: Sequence[Point]) -> Figure:
    def paint(axes: Axes) -> None:
        if parameter.options:
            _strip(axes, parameter, found)
        else:
            _numbers(axes, parameter, found)

    return Figure(parameter.name, slice_sentence(parameter, found), paint, SMALL)


def _numbers(axes: Axes, parameter: Parameter, found: Sequence[Point]) -> None:
    _dots(axes, found, [point.x for point in found])
    if parameter.log:
        logarithmic(axes)
    axes.set_xlabel(shorten(parameter.name, 40) + (" (log scale)" if parameter.log else ""))
    axes.set_ylabel(VAL_GAP)


def _strip(axes: Axes, parameter: Parameter, found: Sequence[Point]) -> None:
    options = list(dict.fromkeys((*parameter.options, *(point.text for point in found))))
    places = {option: float(place) for place, option in enumerate(options)}
    _dots(axes, found, [places[point.text] + _jitter(point.trial) for point in found])
    for option, (low, middle, high) in spread(found).items():
        axes.hlines(middle, places[option] - 0.3, places[option] + 0.3, color="#2b3038", linewidth=2, zorder=4)
        axes.vlines(places[option], low, high, color="#2b3038", linewidth=1, zorder=4)
    room = max(4, 40 // len(options))
    axes.set_xticks(list(places.values()), [shorten(option, room) for option in options])
    axes.set_xlim(-0.6, len(options) - 0.4)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(shorten(parameter.name, 40))
    axes.set_ylabel(VAL_GAP)


def _dots(axes: Axes, found: Sequence[Point], places: Sequence[float]) -> None:
    for is_complete, colour, marker in ((False, ORANGE, "v"), (True, BLUE, "o")):
        chosen = [place for place, point in enumerate(found) if point.is_complete is is_complete]
        x, y = [places[i] for i in chosen], [found[i].gap for i in chosen]
        axes.scatter(x, y, s=20, color=colour, marker=marker, alpha=0.75, linewidth=0, zorder=3)


def _jitter(number: int) -> float:
    """Sideways, within 0.2, by the golden ratio: the same trial stands at the same side in every picture."""
    return 0.4 * (math.fmod(number * 0.6180339887, 1.0) - 0.5)
