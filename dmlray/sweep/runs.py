"""A sweep as MLflow shows it: one parent run, one child run per trial. A pure projection of the study."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from dmlray.sweep.budgets import gpu_seconds
from dmlray.sweep.lineage import model_record
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.settings import SweepConfig
from dmlray.sweep.summary import duration_s
from dmlray.tracking import DatasetRecord, RunRecord

_BESIDE_TRAINING = ("evaluation_s", "checkpoint_s", "startup_s")
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


def trial_key(sweep: str, number: int) -> str:
    """The tag by which a trial's run is found again."""
    return f"{sweep}/{number}"


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


def trial_run(config: SweepConfig, trial: TrialRecord, datasets: Sequence[DatasetRecord] = ()) -> RunRecord:
    """A trial's run: its parameters, its curve by epoch, its final metrics and costs at the last epoch; the
    ``datasets`` that it reads, and once it is complete its model.
    """
    curve = list(trial.curve)
    if trial.state.is_finished and curve:
        last, known = curve[-1]
        final = {
            f"best_{name}" if name in known else name: value
            for name, value in trial.metrics.items()
            if name not in known or not name.endswith(("_s", "_share"))  # the best epoch's seconds say nothing
        }
        curve.append((last, final | _spent_hours(trial) | _spent_seconds(trial)))
    return RunRecord(
        key=trial_key(config.name, trial.number),
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
        datasets=datasets,
        model=model_record(config, trial, label(trial)),
    )


def _spent_hours(trial: TrialRecord) -> dict[str, float]:
    return {"train_hours": (duration_s(trial) or 0.0) / 3600, "gpu_hours": gpu_seconds([trial]) / 3600}


def _spent_seconds(trial: TrialRecord) -> dict[str, float]:
    """The share of all training time in which there was no batch, and seconds that were spent on something else."""
    total = duration_s(trial)
    waited = sum(metrics.get("wait_share", 0.0) * metrics.get("epoch_s", 0.0) for _, metrics in trial.curve)
    beside = Counter[str]()
    for _, metrics in trial.curve:
        beside.update({f"total_{name}": metrics[name] for name in _BESIDE_TRAINING if name in metrics})
    return {**({"total_wait_share": waited / total} if total else {}), **beside}


def describe(config: dict[str, object]) -> str:
    """A trial in a few words for people: ``bigru2x512 attention concat mixture4``; of any version's configuration."""
    encoder, pooling, fusion = (_part(config, name) for name in ("encoder", "pooling", "fusion"))
    words = []
    if encoder.get("kind", "none") != "none":
        direction = "bi" if encoder.get("bidirectional") else ""
        words.append(f"{direction}{encoder['kind']}{encoder.get('layers', '')}x{encoder.get('hidden', '')}")
    words.append(str(pooling.get("kind", "mean")))
    words.append(f"{fusion.get('kind', 'concat')}{fusion.get('dim', '')}")
    hidden, head = _part(config, "hidden"), _part(config, "head")
    if hidden.get("kind") == "residual":
        words.append(f"residual{hidden.get('layers', '')}x{hidden.get('dim', '')}")
    if head.get("kind", "logistic") != "logistic":
        words.append(f"{head['kind']}{head.get('experts', '')}")
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
