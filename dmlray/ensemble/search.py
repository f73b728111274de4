"""From candidates to the best small ensemble, with figures from videos that the choice never saw."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dmlray.data.predictions import Predictions
from dmlray.ensemble.candidates import VALIDATION_FILE, Candidate, ordered_candidates
from dmlray.ensemble.compare import blends_to_compare, measure, measure_gain
from dmlray.ensemble.pairs import pair_blocks
from dmlray.ensemble.parts import Rows, gap_on, split_videos
from dmlray.ensemble.report import EnsembleReport, Gain, Member, Pick
from dmlray.ensemble.selection import Selection, select
from dmlray.ensemble.weights import member_weights
from dmlray.errors import DataError, UsageError


@dataclass(frozen=True)
class EnsembleSettings:
    """At most ``top`` distinct members in ``size`` picks, weighted by a rule of `weights.RULES`; a share
    ``report_split`` of the validation videos is kept from the selection; ``resamples`` and ``seed`` of the bootstrap.
    """

    top: int = 5
    size: int = 25
    weights: str = "gap"
    report_split: float = 0.5
    resamples: int = 200
    seed: int = 0

    def check(self) -> None:
        """Raises UsageError for a number out of range, ConfigError for an unknown rule."""
        for name, least in (("top", 1), ("size", 1), ("resamples", 2)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 <= self.report_split < 1:
            raise UsageError(f"report split must be at least 0 and below 1, got {self.report_split}")
        member_weights(self.weights, [1], [1.0])


@dataclass(frozen=True)
class EnsembleResult:
    """The report with the ensemble's own predictions; ``test`` is None where a member has none."""

    report: EnsembleReport
    validation: Predictions
    test: Predictions | None


def search_ensemble(candidates: Iterable[Candidate], settings: EnsembleSettings | None = None) -> EnsembleResult:
    """Select on one part of the validation videos, measure on the other and on test.

    The order of candidates is irrelevant. Raises UsageError without candidates or with settings out of range,
    ConfigError for an unknown weight rule, DataError when candidates do not belong together.
    """
    settings = settings or EnsembleSettings()
    settings.check()
    ordered = ordered_candidates(candidates)
    parts = _parts(ordered[0], settings.report_split)
    selection = _select(ordered, parts[0], settings)
    gaps = [gap_on(candidate.validation, parts[0]) for candidate in ordered]
    weights = _weights(selection, gaps, settings.weights)
    blends = blends_to_compare(ordered, gaps, weights, settings.top)
    gain = measure_gain(blends["ensemble"], blends["best_single"], parts[1], settings.resamples, settings.seed)
    best = ordered[blends["best_single"].members[0]].trial
    report = EnsembleReport(
        top=settings.top,
        size=settings.size,
        weights=settings.weights,
        report_split=settings.report_split,
        videos=_videos(parts, blends["ensemble"].test),
        candidates=len(ordered),
        members=_members(ordered, selection, gaps, weights),
        best_single=best,
        curve=_curve(ordered, selection),
        figures={name: measure(blend, parts) for name, blend in blends.items()},
        gain=gain,
        summary=summarise(gain, best, [ordered[place].trial for place in selection.counts], len(parts[1])),
        notes=_notes(settings, len(ordered), blends["ensemble"].test),
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


def _select(ordered: Sequence[Candidate], rows: Rows, settings: EnsembleSettings) -> Selection:
    blocks = list(pair_blocks([candidate.validation for candidate in ordered], rows))
    return select(blocks, top=settings.top, size=settings.size)


def _weights(selection: Selection, gaps: Sequence[float], rule: str) -> dict[int, float]:
    counts = selection.counts
    shares = member_weights(rule, list(counts.values()), [gaps[place] for place in counts])
    return dict(zip(counts, shares, strict=True))


def _members(
    ordered: Sequence[Candidate], selection: Selection, gaps: Sequence[float], weights: dict[int, float]
) -> tuple[Member, ...]:
    gains = selection.gains
    return tuple(
        Member(
            trial=ordered[place].trial,
            name=ordered[place].name,
            gap=gaps[place],
            weight=weights[place],
            picks=picks,
            gain=gains[place],
        )
        for place, picks in selection.counts.items()
    )


def _curve(ordered: Sequence[Candidate], selection: Selection) -> tuple[Pick, ...]:
    steps = enumerate(zip(selection.picks, selection.curve, strict=True))
    return tuple(
        Pick(trial=ordered[place].trial, name=ordered[place].name, gap=gap, kept=step < selection.kept)
        for step, (place, gap) in steps
    )


def _videos(parts: tuple[Rows, Rows], test: Predictions | None) -> dict[str, int]:
    return {"selection": len(parts[0]), "report": len(parts[1]), "test": 0 if test is None else len(test)}


def _notes(settings: EnsembleSettings, candidates: int, test: Predictions | None) -> tuple[str, ...]:
    notes = []
    if settings.top > candidates:
        notes.append(f"{settings.top} members were allowed, there are {candidates} candidates: all could be picked.")
    if test is None:
        notes.append("No figures on test: a member has no test predictions.")
    return tuple(notes)
