"""What a study knows about a trial, and how it stands in the store: as attributes of JSON values."""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

_EPOCH = "epoch:"


class TrialState(enum.Enum):
    """Where a trial stands: asked for, being trained, or finished in one of three ways."""

    waiting = "waiting"
    running = "running"
    complete = "complete"
    pruned = "pruned"
    failed = "failed"

    @property
    def is_finished(self) -> bool:
        """True where nothing can be added any more."""
        return self in (TrialState.complete, TrialState.pruned, TrialState.failed)


@dataclass(frozen=True)
class TrialRecord:
    """One trial. ``value`` is the best val_gap of a finished trial; ``checkpoint`` and ``digest`` are its newest."""

    number: int
    state: TrialState
    params: dict[str, object]  # parameter name -> what the sampler chose
    config: dict[str, Any]  # the resolved TrialConfig as JSON
    curve: tuple[tuple[int, dict[str, float]], ...] = ()  # (finished epochs, metrics), ascending
    value: float | None = None
    reason: str | None = None
    message: str | None = None
    checkpoint: str | None = None
    digest: str | None = None
    best_epoch: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)  # of the outcome, test metrics among them
    attempts: int = 0
    started: datetime | None = None
    finished: datetime | None = None

    @property
    def history(self) -> tuple[tuple[int, float], ...]:
        """(finished epochs, val_gap), as stopping rules read it."""
        return tuple((epoch, metrics.get("val_gap", math.nan)) for epoch, metrics in self.curve)

    @property
    def best_so_far(self) -> float | None:
        """The best finite val_gap reported; None before the first."""
        return max((value for _, value in self.history if math.isfinite(value)), default=None)


def record_of(
    number: int,
    state: TrialState,
    params: Mapping[str, object],
    attributes: Mapping[str, Any],
    started: datetime | None = None,
    finished: datetime | None = None,
) -> TrialRecord:
    """The record that a trial's ``attributes`` describe. Raises LookupError or TypeError where they are damaged."""
    epochs = sorted((int(key[len(_EPOCH) :]), value) for key, value in attributes.items() if key.startswith(_EPOCH))
    newest = epochs[-1][1] if epochs else {}
    outcome, failure = attributes.get("outcome", {}), attributes.get("failure", {})
    return TrialRecord(
        number=number,
        state=state,
        params=dict(params),
        config=attributes["config"],
        curve=tuple((epoch, numbers_of(value["metrics"])) for epoch, value in epochs),
        value=outcome.get("value") if state in (TrialState.complete, TrialState.pruned) else None,
        reason=failure.get("reason"),
        message=failure.get("message"),
        checkpoint=newest.get("checkpoint"),
        digest=newest.get("digest"),
        best_epoch=outcome.get("best_epoch"),
        metrics=numbers_of(outcome.get("metrics", {})),
        attempts=attributes.get("attempts", 0),
        started=started,
        finished=finished,
    )


def with_epoch(
    record: TrialRecord, epoch: int, metrics: Mapping[str, float], checkpoint: str, digest: str
) -> TrialRecord:
    """``record`` with a finished epoch more, or with that epoch replaced, as ``record_of`` would read it back."""
    curve = {**dict(record.curve), epoch: numbers_of(json_numbers(metrics))}
    if epoch == max(curve):
        record = replace(record, checkpoint=checkpoint, digest=digest)
    return replace(record, curve=tuple(sorted(curve.items(), key=lambda item: item[0])))


def epoch_attribute(
    epoch: int, metrics: Mapping[str, float], checkpoint: str, digest: str
) -> tuple[str, dict[str, object]]:
    """Key and value under which a finished epoch is stored."""
    return f"{_EPOCH}{epoch:04d}", {"metrics": json_numbers(metrics), "checkpoint": checkpoint, "digest": digest}


def json_numbers(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Metrics as JSON has them, which knows neither NaN nor infinity: these become null."""
    return {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}


def numbers_of(stored: Mapping[str, float | None]) -> dict[str, float]:
    """Metrics from JSON; null is NaN."""
    return {name: math.nan if value is None else value for name, value in stored.items()}
