"""From candidates to the best small ensemble, with figures from videos that the choice never saw."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from dmlray.data.dataset import Dataset
from dmlray.data.predictions import Predictions
from dmlray.ensemble.candidates import VALIDATION_FILE, Candidate, ordered_candidates
from dmlray.ensemble.choice import Choice, EnsembleSettings, choose, put_on_scale
from dmlray.ensemble.compare import Blend, blend, densely, measure, measure_gain, others_to_compare
from dmlray.ensemble.costs import affordable, measure_costs
from dmlray.ensemble.dense import DenseBlender
from dmlray.ensemble.explain import disagreement, leave_one_out
from dmlray.ensemble.parts import Rows, gap_on, split_videos
from dmlray.ensemble.report import EnsembleReport, Figures, Gain, Member, Pick
from dmlray.ensemble.selection import Budget
from dmlray.errors import DataError


@dataclass(frozen=True)
class EnsembleResult:
    """The report with the ensemble's own predictions; ``test`` is None where a member has none."""

    report: EnsembleReport
    validation: Predictions
    test: Predictions | None


@dataclass(frozen=True)
class Limits:
    """What an ensemble may cost: MB of float32 parameters, CPU milliseconds a video on one core, measured on videos of
    ``dataset``; without it nothing is measured and nothing binds.
    """

    max_mb: float | None = None
    max_ms_per_video: float | None = None
    dataset: Dataset | None = None

    def given(self) -> dict[str, float]:
        """The limits that bind, by name."""
        limits = {"max_mb": self.max_mb, "max_ms_per_video": self.max_ms_per_video}
        return {name: limit for name, limit in limits.items() if limit is not None}


def search_ensemble(
    candidates: Iterable[Candidate],
    settings: EnsembleSettings | None = None,
    limits: Limits | None = None,
    blender: DenseBlender | None = None,
) -> EnsembleResult:
    """Select on one part of the validation videos, measure on the other and on test.

    With a ``blender``, the ensemble and the paper's rule are measured on members' full outputs. The order of candidates
    is irrelevant. Raises UsageError without candidates or with settings out of range, ConfigError for an unknown
    weight rule, DataError when candidates do not belong together.
    """
    settings = settings or EnsembleSettings()
    settings.check()
    ordered = ordered_candidates(candidates)
    parts = _parts(ordered[0], settings.report_split)
    gaps = [gap_on(candidate.validation, parts[0]) for candidate in ordered]
    scaled = put_on_scale(ordered, parts[0], settings.scale)
    limits = limits or Limits()
    costs = measure_costs([one.directory for one in ordered], limits.dataset) if limits.dataset else None
    budgets = costs.budgets(limits.max_mb, limits.max_ms_per_video) if costs else []
    chosen = choose(scaled, gaps, settings, budgets)
    blends = _blends(ordered, gaps, chosen, parts[0], settings, budgets)
    if blender:
        blends = _with_dense(blends, blender, chosen, ordered)
    gain = measure_gain(blends["ensemble"], blends["best_single"], parts[1], settings.resamples, settings.seed)
    best = ordered[blends["best_single"].members[0]].trial
    figures = {name: measure(blend, parts, settings) for name, blend in blends.items()}
    report = EnsembleReport(
        top=settings.top,
        size=settings.size,
        weights=settings.weights,
        scale=settings.scale,
        bags=settings.bags,
        report_split=settings.report_split,
        videos=_videos(parts, blends["ensemble"].test),
        candidates=len(ordered),
        members=_members(chosen, gaps, parts[1]),
        best_single=best,
        curve=_curve(ordered, chosen),
        figures=figures,
        disagreement=_disagreement(chosen, parts[1]),
        gain=gain,
        budgets=limits.given(),
        front=tuple(affordable(scaled, gaps, settings, costs)) if costs else (),
        summary=summarise(gain, best, [ordered[place].trial for place in chosen.weights], len(parts[1])),
        notes=_notes(settings, len(ordered), figures),
    )
    return EnsembleResult(report, blends["ensemble"].validation, blends["ensemble"].test)


def summarise(gain: Gain | None, best: int, members: Sequence[int], videos: int) -> str:
    """One sentence: is the ensemble better than the best single trial?"""
    if list(members) == [best]:
        return f"The best single trial ({best}) is the best ensemble: no other trial adds to it."
    if gain is None:
        return "No video was kept from the selection, so whether the ensemble is better than a single trial is unknown."
    verdict = "within noise" if gain.within_noise else "more than noise"
    direction = "gains" if gain.value >= 0 else "loses"
    return (
        f"The ensemble {direction} {abs(gain.value):.4f} GAP over the best single trial ({best}) on {videos:,} videos "
        f"that the selection never saw, 95 % interval {gain.low:+.4f} to {gain.high:+.4f}: {verdict}."
    )


def _parts(first: Candidate, report_split: float) -> tuple[Rows, Rows]:
    chosen, reported = split_videos(first.validation.ids, report_split)
    if not chosen.size:
        found = f"none of its {len(first.validation)} videos falls to the selection at report split {report_split}"
        raise DataError(first.directory / VALIDATION_FILE, found)
    return chosen, reported


def _blends(
    ordered: Sequence[Candidate],
    gaps: Sequence[float],
    chosen: Choice,
    rows: Rows,
    settings: EnsembleSettings,
    budgets: Sequence[Budget],
) -> dict[str, Blend]:
    """The ensemble, what it is compared with, and the same choice made on the other scale."""
    other = replace(settings, scale="none" if settings.scale == "temperature" else "temperature")
    again = choose(put_on_scale(ordered, rows, other.scale), gaps, other, budgets)
    return {
        "ensemble": blend(chosen.scaled.candidates, chosen.weights),
        **others_to_compare(chosen, ordered, gaps, settings.top),
        f"scale_{other.scale}": blend(again.scaled.candidates, again.weights),
    }


def _with_dense(
    blends: Mapping[str, Blend], blender: DenseBlender, chosen: Choice, ordered: Sequence[Candidate]
) -> dict[str, Blend]:
    """``ensemble`` and ``paper`` from full outputs; what the stores made of the first stays as ``from_stores``."""
    scales = {"ensemble": chosen.scaled.temperatures, "paper": [1.0] * len(ordered)}
    dense = {
        name: densely(blender, found, [ordered[i] for i in found.members], [temperatures[i] for i in found.members])
        for name, temperatures in scales.items()
        if (found := blends[name])
    }
    return {**blends, **dense, "from_stores": blends["ensemble"]}


def _members(chosen: Choice, gaps: Sequence[float], reported: Rows) -> tuple[Member, ...]:
    places = list(chosen.weights)
    stores = [chosen.scaled.candidates[place].validation for place in places]
    worth = leave_one_out(stores, list(chosen.weights.values()), reported) if reported.size else [None] * len(places)
    counts, gains = chosen.selection.counts, chosen.selection.gains
    return tuple(
        Member(
            trial=chosen.scaled.candidates[place].trial,
            name=chosen.scaled.candidates[place].name,
            gap=gaps[place],
            weight=chosen.weights[place],
            temperature=chosen.scaled.temperatures[place],
            picks=counts[place],
            gain=gains[place],
            leave_one_out=value,
        )
        for place, value in zip(places, worth, strict=True)
    )


def _curve(ordered: Sequence[Candidate], chosen: Choice) -> tuple[Pick, ...]:
    steps = enumerate(zip(chosen.selection.picks, chosen.selection.curve, strict=True))
    return tuple(
        Pick(trial=ordered[place].trial, name=ordered[place].name, gap=gap, kept=step < chosen.selection.kept)
        for step, (place, gap) in steps
    )


def _disagreement(chosen: Choice, reported: Rows) -> tuple[tuple[float, ...], ...]:
    stores = [chosen.scaled.candidates[place].validation for place in chosen.weights]
    return tuple(tuple(row) for row in disagreement(stores, reported).tolist()) if reported.size else ()


def _videos(parts: tuple[Rows, Rows], test: Predictions | None) -> dict[str, int]:
    return {"selection": len(parts[0]), "report": len(parts[1]), "test": 0 if test is None else len(test)}


def _notes(settings: EnsembleSettings, candidates: int, figures: Mapping[str, Figures]) -> tuple[str, ...]:
    ensemble = figures["ensemble"]
    notes = []
    if settings.top > candidates:
        notes.append(f"{settings.top} members were allowed, there are {candidates} candidates: all could be picked.")
    if ensemble.test is None:
        notes.append("No figures on test: a member has no test predictions.")
    if ensemble.report is not None and ensemble.optimism is not None:
        notes.append(
            f"On the videos that it was chosen on, the ensemble's GAP is {abs(ensemble.optimism):.4f} "
            f"{'higher' if ensemble.optimism >= 0 else 'lower'} than on those that it never saw."
        )
        stored = figures.get("from_stores", ensemble).report
        if stored is not None:
            notes.append(_scale_note(stored, figures))
        if stored is not None and "from_stores" in figures:
            notes.append(
                f"GAP is that of the members' full outputs; their stores of 50 classes a video alone give "
                f"{stored - ensemble.report:+.5f}."
            )
    return tuple(notes)


def _scale_note(report: float, figures: Mapping[str, Figures]) -> str:
    other = "scale_none" if "scale_none" in figures else "scale_temperature"
    words = "Scores were put on one scale; left as they were," if other == "scale_none" else "Scores were left; scaled,"
    return (
        f"{words} the same choice reaches {(figures[other].report or 0.0) - report:+.4f} GAP on the videos never seen."
    )
