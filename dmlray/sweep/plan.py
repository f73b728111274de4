"""What a sweep will take on given nodes: arithmetic over what was recorded, before anything is started or paid."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from dmlray.cluster_file import NodeType
from dmlray.sweep.placement import slots_that_fit, workers_on
from dmlray.sweep.records import TrialRecord
from dmlray.sweep.settings import Resources
from dmlray.sweep.summary import duration_s


@dataclass(frozen=True)
class Recorded:
    """How long ``trials`` trials took, those that were stopped early among them, in seconds."""

    trials: int
    mean_s: float
    longest_s: float

    def scaled(self, factor: float) -> "Recorded":
        """The same for ``factor`` times the work: more videos, more epochs."""
        return Recorded(self.trials, self.mean_s * factor, self.longest_s * factor)


@dataclass(frozen=True)
class Plan:
    """``at_once`` trials on nodes of ``nodes`` (how many of each name); ``hours`` and ``cost`` at least and at most.

    ``cpus_left`` is what trials leave of the CPUs of the fullest node they train on, for reading data. None is what is
    not known: times without a recorded trial, costs without a price. ``notes`` are sentences for people.
    """

    trials: int
    at_once: int
    nodes: dict[str, int]
    cpus_left: float
    hours: tuple[float, float] | None
    gpu_hours: float | None
    cost: tuple[float, float] | None
    notes: tuple[str, ...]


def recorded(trials: Sequence[TrialRecord]) -> Recorded | None:
    """What the ended trials of a study took, each from its first start to its end where nothing interrupted it."""
    spent = [_occupied_s(trial) for trial in trials if trial.state.is_finished and trial.curve]
    return Recorded(len(spent), fmean(spent), max(spent)) if spent else None


def plan_sweep(trials: int, resources: Resources, nodes: Sequence[NodeType], known: Recorded | None) -> Plan:
    """The plan of ``trials`` trials on ``nodes``, one entry each. Raises ConfigError where not one trial fits.

    Trials go to whichever slot is free, so that by Graham (1969, eq. 2) the last one ends at most
    total / slots + (1 - 1 / slots) * longest after the first has begun; nothing ends before total / slots.
    """
    cpus, gpus, workers = resources.cpus_per_trial, resources.gpus_per_trial, resources.workers_per_trial
    fitting = slots_that_fit([node.resources for node in nodes], cpus, gpus, workers)
    at_once = min(fitting, resources.concurrency or fitting, trials)
    placed = _place(nodes, at_once * workers, cpus / workers, gpus / workers)
    left = min(node.resources.get("CPU", 0.0) - count * cpus / workers for node, count in placed)
    hours = None if known is None else _hours(trials, at_once, known)
    used = [node for node, _ in placed]
    paid = used if nodes[0] in used else [nodes[0], *used]
    prices = [node.price for node in paid if node.price is not None]
    rate = sum(prices) if len(prices) == len(paid) else None
    return Plan(
        trials,
        at_once,
        dict(Counter(node.name for node in paid)),
        left,
        hours,
        None if known is None else trials * known.mean_s * gpus / 3600,
        None if hours is None or rate is None else (hours[0] * rate, hours[1] * rate),
        tuple(_notes(trials, fitting, resources, placed, left)),
    )


def _occupied_s(trial: TrialRecord) -> float:
    trained = duration_s(trial) or 0.0
    if trial.attempts == 1 and trial.started and trial.finished:
        return max(trained, (trial.finished - trial.started).total_seconds())
    return trained


def _place(nodes: Sequence[NodeType], workers: int, cpus: float, gpus: float) -> list[tuple[NodeType, int]]:
    """The nodes that ``workers`` workers fill, one after another, and how many sit on each."""
    placed = []
    for node in nodes:
        count = min(workers, workers_on(node.resources, cpus, gpus))
        if count:
            placed.append((node, count))
            workers -= count
    return placed


def _hours(trials: int, slots: int, known: Recorded) -> tuple[float, float]:
    shared = trials * known.mean_s / slots
    return max(shared, known.mean_s) / 3600, (shared + (1 - 1 / slots) * known.longest_s) / 3600


def _notes(
    trials: int, fitting: int, resources: Resources, placed: Sequence[tuple[NodeType, int]], left: float
) -> list[str]:
    notes = []
    gpus = resources.gpus_per_trial / resources.workers_per_trial
    idle = sum(node.resources.get("GPU", 0.0) - count * gpus for node, count in placed)
    if trials < fitting:
        notes.append(f"{fitting} trials would fit at once and {trials} are asked for: the rest of the nodes stays off")
    elif gpus and idle >= 1:
        notes.append(f"{idle:g} GPUs stay idle: give trials fewer CPUs (--cpus-per-trial), or smaller shares of a GPU")
    elif not gpus and idle >= 1:
        notes.append(f"{idle:g} GPUs stay idle: give --gpus-per-trial, or nodes without GPUs")
    if gpus and left < 1:
        notes.append("trials take all CPUs of a node, so that reading data competes with them: leave it one CPU")
    return notes
