"""Sentences beside an ensemble's figures: how optimistic they are, and what other choices would have given."""

from collections.abc import Mapping

from dmlray.ensemble.choice import EnsembleSettings
from dmlray.ensemble.precision import Precision
from dmlray.ensemble.report import Figures


def notes(settings: EnsembleSettings, candidates: int, figures: Mapping[str, Figures]) -> tuple[str, ...]:
    """What the figures need said beside them."""
    ensemble = figures["ensemble"]
    found = []
    if settings.top > candidates:
        found.append(f"{settings.top} members were allowed, there are {candidates} candidates: all could be picked.")
    if ensemble.test is None:
        found.append("No figures on test: a member has no test predictions.")
    if ensemble.report is not None and ensemble.optimism is not None:
        found.append(
            f"On the videos that it was chosen on, the ensemble's GAP is {abs(ensemble.optimism):.4f} "
            f"{'higher' if ensemble.optimism >= 0 else 'lower'} than on those that it never saw."
        )
        stored = figures.get("from_stores", ensemble).report
        if stored is not None:
            found.append(_scale_note(stored, figures))
        if stored is not None and "from_stores" in figures:
            found.append(
                f"GAP is that of the members' full outputs; their stores of 50 classes a video alone give "
                f"{stored - ensemble.report:+.5f}."
            )
    return tuple(found)


def precision_note(own: Precision, mb: Mapping[Precision, float], figures: Mapping[str, Figures]) -> str:
    """What the members' size ``mb`` and GAP are in their ``own`` precision and in others, which ``figures`` name."""
    part = "selection" if figures["ensemble"].report is None else "report"
    here = getattr(figures["ensemble"], part)
    others = [
        f"{other} would take {size:,.2f} MB and change GAP by {getattr(figures[other], part) - here:+.5f}"
        for other, size in mb.items()
        if other != own
    ]
    return f"Members are stored as {own}, {mb[own]:,.2f} MB; on the {part} part {', '.join(others)}."


def _scale_note(report: float, figures: Mapping[str, Figures]) -> str:
    other = "scale_none" if "scale_none" in figures else "scale_temperature"
    words = "Scores were put on one scale; left as they were," if other == "scale_none" else "Scores were left; scaled,"
    return (
        f"{words} the same choice reaches {(figures[other].report or 0.0) - report:+.4f} GAP on the videos never seen."
    )
