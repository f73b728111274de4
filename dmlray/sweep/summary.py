"""A sweep in figures: what `status`, `top` and the progress line show. Pure functions of the study's records."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from dmlray.sweep.records import TrialRecord, TrialState


@dataclass(frozen=True)
class Summary:
    """Counts by state, the best trial so far, and the time left in seconds (None while nothing has ended)."""

    wanted: int
    complete: int
    pruned: int
    failed: int
    running: int
    best: TrialRecord | None
    left_s: float | None

    @property
    def is_over(self) -> bool:
        """Every trial that was asked for has ended."""
        return self.complete + self.pruned + self.failed >= self.wanted


def summarize(trials: Sequence[TrialRecord], wanted: int) -> Summary:
    """Sum a sweep up; the time left supposes that as many trials run at once as do now."""
    counted = [trial for trial in trials if trial.reason != "bad_config"]
    states = Counter(trial.state for trial in counted)
    return Summary(
        wanted=wanted,
        complete=states[TrialState.complete],
        pruned=states[TrialState.pruned],
        failed=states[TrialState.failed],
        running=states[TrialState.running],
        best=min((trial for trial in counted if trial.best_so_far is not None), key=_rank, default=None),
        left_s=_time_left(counted, wanted, max(1, states[TrialState.running])),
    )


def ranking(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Trials that have a value, best first; ties to the lowest number."""
    valued = [trial for trial in trials if trial.best_so_far is not None]
    return sorted(valued, key=_rank)


def duration_s(trial: TrialRecord) -> float | None:
    """Seconds of training that a trial's reports account for; time between interruption and resume not counted."""
    return sum(metrics.get("epoch_s", 0.0) for _, metrics in trial.curve) if trial.curve else None


def span(seconds: float) -> str:
    """Seconds for people: ``42 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _rank(trial: TrialRecord) -> tuple[float, int]:
    return -(trial.best_so_far or 0.0), trial.number


def _time_left(trials: Sequence[TrialRecord], wanted: int, slots: int) -> float | None:
    ended = [trial for trial in trials if trial.state.is_finished and trial.started and trial.finished]
    if not ended:
        return None
    typical = median(_span_s(trial.started, trial.finished) for trial in ended)  # the first pays the start-up
    return typical * max(0, wanted - len(ended)) / slots


def _span_s(start: datetime | None, end: datetime | None) -> float:
    return max(0.0, (end - start).total_seconds()) if start and end else 0.0  # clocks can be set back
