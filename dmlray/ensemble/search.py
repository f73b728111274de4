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
from dmlray.ensemble.notes import notes, precision_note
from dmlray.ensemble.origin import shown
from dmlray.ensemble.parts import Rows, gap_on, split_videos
from dmlray.ensemble.precision import PRECISIONS, Precision
from dmlray.ensemble.report import EnsembleReport, Figures, Gain, Member, Pick
from dmlray.ensemble.selection import Budget
from dmlray.errors import DataError, UsageError


@dataclass(frozen=True)
class EnsembleResult:
    """The report with the ensemble's own predictions; ``test`` is None where a member has none."""

    report: EnsembleReport
    validation: Predictions
    test: Predictions | None

    @property
    def weights(self) -> dict[int, float]:
        """Of each member by trial, summing to 1."""
        return {member.trial: member.weight for member in self.report.members}

    @property
    def gap(self) -> float:
        """GAP@20 on the videos that the selection never saw; where none were kept from it, on those it saw."""
        figures = self.report.figures["ensemble"]
        return figures.selection if figures.report is None else figures.report


@dataclass(frozen=True)
class Limits:
    """What an ensemble may cost: MB of stored parameters, CPU milliseconds a video on one core, measured on videos of
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
    sweeps: Sequence[str] = (),
) -> EnsembleResult:
    """Select on one part of the validation videos, measure on the other and on test.

    With a ``blender``, the ensemble and the paper's rule are measured on members' full outputs. ``sweeps`` are those
    whose trials `ensemble.origin` numbers. The order of candidates is irrelevant. Raises UsageError without candidates,
    with settings out of range, or for another precision than float32 without a blender to say what it costs;
    ConfigError for an unknown weight rule, DataError when candidates do not belong together.
    """
    settings, limits = settings or EnsembleSettings(), limits or Limits()
    _check(settings, blender)
    ordered = ordered_candidates(candidates)
    parts = _parts(ordered[0], settings.report_split)
    gaps = [gap_on(candidate.validation, parts[0]) for candidate in ordered]
    scaled = put_on_scale(ordered, parts[0], settings.scale)
    data = limits.dataset
    costs = measure_costs(ordered, data, settings.precision) if data else None
    budgets = costs.budgets(limits.max_mb, limits.max_ms_per_video) if costs else []
    chosen = choose(scaled, gaps, settings, budgets)
    blends = _blends(ordered, gaps, chosen, parts[0], settings, budgets)
    if blender:
        beside: tuple[Precision, ...] = PRECISIONS if data else ("float32",)
        blends = _with_dense(blends, blender, chosen, ordered, settings.precision, beside)
    gain = measure_gain(blends["ensemble"], blends["best_single"], parts[1], settings.resamples, settings.seed)
    best = ordered[blends["best_single"].members[0]].trial
    figures = {name: measure(blend, parts, settings) for name, blend in blends.items()}
    report = EnsembleReport(
        top=settings.top,
        size=settings.size,
        weights=settings.weights,
        scale=settings.scale,
        precision=settings.precision,
        bags=settings.bags,
        report_split=settings.report_split,
        videos=_videos(parts, blends["ensemble"].test),
        candidates=len(ordered),
        sweeps=tuple(sweeps),
        members=_members(chosen, gaps, parts[1]),
        best_single=best,
        curve=_curve(ordered, chosen),
        figures=figures,
        disagreement=_disagreement(chosen, parts[1]),
        gain=gain,
        budgets=limits.given(),
        front=tuple(affordable(scaled, gaps, settings, costs)) if costs else (),
        summary=summarise(
            gain,
            shown(best, sweeps),
            [shown(ordered[place].trial, sweeps) for place in chosen.weights],
            len(parts[1]),
        ),
        notes=(*notes(settings, len(ordered), figures), *_precision_note(settings, figures, blender, chosen, ordered)),
    )
    return EnsembleResult(report, blends["ensemble"].validation, blends["ensemble"].test)


def summarise(gain: Gain | None, best: str, members: Sequence[str], videos: int) -> str:
    """One sentence: is the ensemble better than the best single trial?"""
    if list(members) == [best]:
        return f"The best single trial ({best}) is the best ensemble: no other trial adds to it."
    if gain is None:
        return "No video was kept from the selection, so whether the ensemble is better than a single trial is unknown."
    verdict = "within noise" if gain.within_noise else "more than noise"
    gains = f"gains {gain.value:.4f} GAP over" if gain.value >= 0 else f"loses {-gain.value:.4f} GAP against"
    return (
        f"The ensemble {gains} the best single trial ({best}) on {videos:,} videos "
        f"that the selection never saw, 95 % interval {gain.low:+.4f} to {gain.high:+.4f}: {verdict}."
    )


def _check(settings: EnsembleSettings, blender: DenseBlender | None) -> None:
    settings.check()
    if blender is None and settings.precision != "float32":
        raise UsageError(
            f"what {settings.precision} costs is only known when members are run, which stores alone do not"
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
    blends: Mapping[str, Blend],
    blender: DenseBlender,
    chosen: Choice,
    ordered: Sequence[Candidate],
    precision: Precision,
    beside: Sequence[Precision],
) -> dict[str, Blend]:
    """``ensemble`` (in ``precision``) and ``paper`` from full outputs; what the stores made of the first stays as
    ``from_stores``, what it is in the precisions ``beside`` stands under their names.
    """

    def dense(name: str, temperatures: Sequence[float], precision: Precision) -> Blend:
        found = blends[name]
        members = [ordered[place] for place in found.members]
        return densely(blender, found, members, [temperatures[place] for place in found.members], precision)

    own = chosen.scaled.temperatures
    return {
        **blends,
        "ensemble": dense("ensemble", own, precision),
        "paper": dense("paper", [1.0] * len(ordered), "float32"),
        **{other: dense("ensemble", own, other) for other in beside if other != precision},
        "from_stores": blends["ensemble"],
    }


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


def _precision_note(
    settings: EnsembleSettings,
    figures: Mapping[str, Figures],
    blender: DenseBlender | None,
    chosen: Choice,
    ordered: Sequence[Candidate],
) -> tuple[str, ...]:
    beside = [precision for precision in PRECISIONS if precision in figures]
    if blender is None or not beside:
        return ()
    members = [ordered[place] for place in chosen.weights]
    mb = {precision: blender.mb(members, precision) for precision in (settings.precision, *beside)}
    return (precision_note(settings.precision, mb, figures),)
