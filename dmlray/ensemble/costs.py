"""What a member costs to keep and to run, and what accuracy each size and speed allows."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dmlray.data.batch import Batches
from dmlray.data.dataset import Dataset
from dmlray.ensemble.candidates import Candidate
from dmlray.ensemble.choice import EnsembleSettings, Scaled, choose
from dmlray.ensemble.members import build_member, load_trial_model
from dmlray.ensemble.origin import snapshot_of
from dmlray.ensemble.precision import Precision, stored_bytes
from dmlray.ensemble.report import Affordable
from dmlray.ensemble.selection import Budget
from dmlray.errors import UsageError

TIMED_VIDEOS = 64
STEPS = 5  # halvings of each budget that the front looks at


@dataclass(frozen=True)
class Costs:
    """Of E candidates: parameters as they are stored, in MB (E,), and CPU milliseconds a video on one core (E,)."""

    mb: NDArray[np.float64]
    ms_per_video: NDArray[np.float64]

    def budgets(self, max_mb: float | None, max_ms: float | None) -> list[Budget]:
        """What binds, where a limit is given. Raises UsageError for one that no candidate alone keeps."""
        limits = (("--max-mb", self.mb, max_mb), ("--max-ms-per-video", self.ms_per_video, max_ms))
        for option, costs, limit in limits:
            if limit is not None and costs.min() > limit:
                needs = f"the cheapest candidate needs {costs.min():.3g}"
                raise UsageError(f"{option} is {limit:g}, {needs}: raise it, or search smaller models")
        return [Budget(costs, limit) for _, costs, limit in limits if limit is not None]


def measure_costs(candidates: Sequence[Candidate], dataset: Dataset, precision: Precision = "float32") -> Costs:
    """Load each candidate's model, to be stored in ``precision``, and run it on videos of ``dataset``, best of 3 times.

    Raises StorageError for a checkpoint that is missing or damaged.
    """
    measured = [_measure(candidate, dataset, precision) for candidate in candidates]
    return Costs(*(np.array(column) for column in zip(*measured, strict=True)))


def affordable(candidates: Scaled, gaps: Sequence[float], settings: EnsembleSettings, costs: Costs) -> list[Affordable]:
    """The Pareto front of GAP on the selection part against MB and milliseconds: ensembles that no other one beats in
    all three. Each budget is halved from what the unbounded choice costs; the rest is left open.
    """
    points = [_point(candidates, gaps, settings, costs, [])]
    for column, whole in ((costs.mb, points[0].mb), (costs.ms_per_video, points[0].ms_per_video)):
        for step in range(1, STEPS + 1):
            try:
                points.append(_point(candidates, gaps, settings, costs, [Budget(column, whole / 2**step)]))
            except UsageError:
                break
    front = {point for point in points if not any(_beats(other, point) for other in points)}
    return sorted(front, key=lambda point: (-point.gap, point.mb))


def _measure(candidate: Candidate, dataset: Dataset, precision: Precision) -> tuple[float, float]:
    trial = load_trial_model(candidate.directory, snapshot_of(candidate.trial))
    config = trial.config
    model = build_member(config, dataset.schema, trial.parameters, candidate.directory)
    size, chosen = min(TIMED_VIDEOS, len(dataset)), config.modalities
    batches = Batches(dataset, size, frames=config.frames, modalities=chosen, seed=0, shuffle=False)
    with closing(batches.epoch(0)) as epoch:
        batch = next(epoch)
    seconds = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for _ in range(3):
                start = time.perf_counter()
                model(batch.features, batch.mask)
                seconds.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    mb = stored_bytes(dict(model.named_parameters()), precision) / 1e6
    return mb, min(seconds) / len(batch.ids) * 1e3


def _point(
    candidates: Scaled, gaps: Sequence[float], settings: EnsembleSettings, costs: Costs, budgets: Sequence[Budget]
) -> Affordable:
    chosen = choose(candidates, gaps, settings, budgets)
    places = list(chosen.weights)
    return Affordable(
        trials=tuple(candidates.candidates[place].trial for place in places),
        gap=chosen.selection.curve[chosen.selection.kept - 1],
        mb=float(costs.mb[places].sum()),
        ms_per_video=float(costs.ms_per_video[places].sum()),
    )


def _beats(one: Affordable, other: Affordable) -> bool:
    """At least as good in everything, and not the same in all."""
    mine = (-one.gap, one.mb, one.ms_per_video)
    theirs = (-other.gap, other.mb, other.ms_per_video)
    return mine != theirs and all(a <= b for a, b in zip(mine, theirs, strict=True))
