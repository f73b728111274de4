"""What a study knows about a trial, and how it stands in the store: as attributes of JSON values."""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

ASKED = "asked"  # the attribute that a trial begins with: its config, its params and, if it has one, its name
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
    """One trial. ``value`` is the best val_gap of a finished trial."""

    number: int
    state: TrialState
    params: dict[str, object]  # parameter name -> what the sampler chose
    config: dict[str, Any]  # the resolved TrialConfig as JSON
    curve: tuple[tuple[int, dict[str, float]], ...] = ()  # (finished epochs, metrics), ascending
    value: float | None = None
    reason: str | None = None
    message: str | None = None
    checkpoints: tuple[tuple[str, str], ...] = ()  # (file name, SHA-256) of every epoch in the curve
    best_epoch: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)  # of the outcome, test metrics among them
    attempts: int = 0
    retries: dict[str, int] = field(default_factory=dict)  # reason -> failures that were forgiven
    started: datetime | None = None
    finished: datetime | None = None
    name: str | None = None  # of the space's named configuration, if it is one

    @cached_property
    def history(self) -> tuple[tuple[int, float], ...]:
        """(finished epochs, val_gap), as stopping rules read it."""
        return tuple((epoch, metrics.get("val_gap", math.nan)) for epoch, metrics in self.curve)

    @property
    def checkpoint(self) -> str | None:
        """File name of the newest checkpoint."""
        return self.checkpoints[-1][0] if self.checkpoints else None

    @property
    def digest(self) -> str | None:
        """SHA-256 of the newest checkpoint."""
        return self.checkpoints[-1][1] if self.checkpoints else None

    @cached_property
    def best_so_far(self) -> float | None:
        """The best finite val_gap reported; None before the first."""
        return max((value for _, value in self.history if math.isfinite(value)), default=None)


def record_of(
    number: int,
    state: TrialState,
    attributes: Mapping[str, Any],
    started: datetime | None = None,
    finished: datetime | None = None,
) -> TrialRecord:
    """The record that a trial's ``attributes`` describe. Raises LookupError or TypeError where they are damaged."""
    epochs = sorted((int(key[len(_EPOCH) :]), value) for key, value in attributes.items() if key.startswith(_EPOCH))
    outcome, failure = attributes.get("outcome", {}), attributes.get("failure", {})
    asked = attributes[ASKED]
    return TrialRecord(
        number=number,
        state=state,
        params=asked["params"],
        config=asked["config"],
        curve=tuple((epoch, numbers_of(value["metrics"])) for epoch, value in epochs),
        value=outcome.get("value") if state in (TrialState.complete, TrialState.pruned) else None,
        reason=failure.get("reason"),
        message=failure.get("message"),
        checkpoints=tuple((value["checkpoint"], value["digest"]) for _, value in epochs),
        best_epoch=outcome.get("best_epoch"),
        metrics=numbers_of(outcome.get("metrics", {})),
        attempts=attributes.get("attempts", 0),
        retries=attributes.get("retries", {}),
        started=started,
        finished=finished,
        name=asked.get("name"),
    )


def attributes_of(record: TrialRecord) -> dict[str, object]:
    """The attributes that ``record_of`` makes the same record of."""
    attributes: dict[str, object] = {ASKED: asked_for(record.config, record.params, record.name)}
    if record.attempts:
        attributes["attempts"] = record.attempts
    if record.retries:
        attributes["retries"] = record.retries
    for (epoch, metrics), kept in zip(record.curve, record.checkpoints, strict=True):
        attributes |= [epoch_attribute(epoch, metrics, *kept)]
    if record.best_epoch is not None:
        outcome = {"value": record.value, "best_epoch": record.best_epoch, "metrics": json_numbers(record.metrics)}
        attributes["outcome"] = outcome
    if record.reason is not None:
        attributes["failure"] = {"reason": record.reason, "message": record.message}
    return attributes


def asked_for(config: Mapping[str, Any], params: Mapping[str, object], name: str | None) -> dict[str, object]:
    """The attribute ASKED."""
    return {"config": config, "params": params, **({} if name is None else {"name": name})}


def with_epoch(
    record: TrialRecord, epoch: int, metrics: Mapping[str, float], checkpoint: str, digest: str
) -> TrialRecord:
    """``record`` with a finished epoch more, or with that epoch replaced, as ``record_of`` would read it back."""
    known = {each[0]: (each[1], kept) for each, kept in zip(record.curve, record.checkpoints, strict=True)}
    known[epoch] = numbers_of(json_numbers(metrics)), (checkpoint, digest)
    ordered = sorted(known.items(), key=lambda item: item[0])
    return replace(
        record,
        curve=tuple((number, values) for number, (values, _) in ordered),
        checkpoints=tuple(kept for _, (_, kept) in ordered),
    )


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
