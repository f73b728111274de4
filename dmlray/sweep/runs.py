"""A sweep as MLflow shows it: one parent run, one child run per trial. A pure projection of the study."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from dmlray.sweep.budgets import gpu_seconds
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.settings import SweepConfig
from dmlray.sweep.summary import duration_s
from dmlray.tracking import RunRecord

_STATUS: dict[TrialState, Literal["running", "finished", "failed"]] = {
    TrialState.waiting: "running",
    TrialState.running: "running",
    TrialState.complete: "finished",
    TrialState.pruned: "finished",
    TrialState.failed: "failed",
}


def sweep_key(sweep: str) -> str:
    """The tag by which a sweep's parent run is found again."""
    return f"{sweep}"


@dataclass(frozen=True)
class EnsembleSoFar:
    """The best small ensemble while a sweep runs: GAP after each finished trial by number, and the members in words."""

    gaps: Mapping[int, float]
    description: str


def sweep_run(
    config: SweepConfig, trials: Sequence[TrialRecord], is_over: bool, ensemble: EnsembleSoFar | None = None
) -> RunRecord:
    """The parent run: the sweep's settings; after each trial with a value the best val_gap, all costs, and what the
    best small ensemble reaches.
    """
    finished = sorted((t for t in trials if t.value is not None and t.finished), key=lambda t: (t.finished, t.number))
    best, spent, curve = float("-inf"), Counter[str](), []
    for step, trial in enumerate(finished):
        best = max(best, trial.value or best)
        spent.update(_spent_hours(trial))
        live = {"ensemble_gap": ensemble.gaps[trial.number]} if ensemble and trial.number in ensemble.gaps else {}
        curve.append((step, {"best_val_gap": best, **spent, **live}))
    tags = {"dmlray.ensemble_so_far": ensemble.description} if ensemble else {}
    started = [trial.started for trial in trials if trial.started]
    return RunRecord(
        key=sweep_key(config.name),
        name=config.name,
        parent_key=None,
        status="finished" if is_over else "running",
        tags={"dmlray.sweep": config.name, "dmlray.trials": str(config.trials), **tags},  # a resume may extend it
        params={
            "data": str(config.data),
            **({} if config.stream is None else {"stream": config.stream}),
            "seed": str(config.seed),
            "sampler": config.sampler,
        },
        metrics=curve,
        start_time_ms=_milliseconds(min(started)) if started else None,
        end_time_ms=_milliseconds(max(t.finished for t in finished if t.finished)) if is_over and finished else None,
    )


def trial_run(config: SweepConfig, trial: TrialRecord) -> RunRecord:
    """A trial's run: its parameters, its curve by epoch, its final metrics and costs at the last epoch."""
    curve = list(trial.curve)
    if trial.state.is_finished and curve:
        last, known = curve[-1]
        final = {f"best_{name}" if name in known else name: v for name, v in trial.metrics.items()}
        curve.append((last, final | _spent_hours(trial) | _waited(trial)))
    return RunRecord(
        key=f"{config.name}/{trial.number}",
        name=f"#{trial.number} {label(trial)}",
        parent_key=sweep_key(config.name),
        status=_STATUS[trial.state],
        tags={
            "dmlray.sweep": config.name,
            "dmlray.trial": str(trial.number),
            "dmlray.state": trial.state.value,
            "dmlray.attempts": str(trial.attempts),
            **({"dmlray.reason": trial.reason, "dmlray.message": trial.message or ""} if trial.reason else {}),
            **{f"dmlray.retries.{reason}": str(count) for reason, count in trial.retries.items()},
        },
        params=flatten(trial.config),
        metrics=curve,
        start_time_ms=_milliseconds(trial.started) if trial.started else None,
        end_time_ms=_milliseconds(trial.finished) if trial.finished else None,
    )


def _spent_hours(trial: TrialRecord) -> dict[str, float]:
    return {"train_hours": (duration_s(trial) or 0.0) / 3600, "gpu_hours": gpu_seconds([trial]) / 3600}


def _waited(trial: TrialRecord) -> dict[str, float]:
    """The share of all training time in which there was no batch."""
    total = duration_s(trial)
    waited = sum(metrics.get("wait_share", 0.0) * metrics.get("epoch_s", 0.0) for _, metrics in trial.curve)
    return {"total_wait_share": waited / total} if total else {}


def describe(config: dict[str, object]) -> str:
    """A trial in a few words for people: ``bigru2x512 attention concat mixture4``."""
    encoder, pooling, fusion = (_part(config, name) for name in ("encoder", "pooling", "fusion"))
    words = []
    if encoder.get("kind") != "none":
        direction = "bi" if encoder.get("bidirectional") else ""
        words.append(f"{direction}{encoder['kind']}{encoder['layers']}x{encoder['hidden']}")
    words.append(str(pooling.get("kind")))
    words.append(f"{fusion['kind']}{fusion.get('dim', '')}")
    hidden, head = _part(config, "hidden"), _part(config, "head")
    if hidden.get("kind") == "residual":
        words.append(f"residual{hidden['layers']}x{hidden['dim']}")
    if head.get("kind", "logistic") != "logistic":
        words.append(f"{head['kind']}{head['experts']}")
    return " ".join(words)


def label(trial: TrialRecord) -> str:
    """What people know a trial by: the name that its configuration has in the space, or what it is."""
    return trial.name or describe(trial.config)


def flatten(config: dict[str, object], prefix: str = "") -> dict[str, str]:
    """Nested configuration to dotted names and text, as MLflow compares them."""
    flat: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = str(value)
    return flat


def _part(config: dict[str, object], name: str) -> dict[str, object]:
    part = config.get(name)
    return part if isinstance(part, dict) else {}


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
