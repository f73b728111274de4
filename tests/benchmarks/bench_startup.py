"""What a trial costs beyond its training: `python -m tests.benchmarks.bench_startup`.

Trials that train nothing and report once run in warm slots, and each in a nested Ray Train run of its own, as Ray
documents it (a Tune trainable that calls `TorchTrainer.fit`). Both run two at a time on two CPUs of the same Ray, which
has started before; what is measured is wall time over trials, the slots' own start included. The stock runs are fewer,
since each costs the same: nothing is reused between them.
"""

import argparse
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from dmlray.cluster import ray_cluster
from dmlray.config import TrialConfig
from dmlray.train.channel import Event
from dmlray.train.task import EpochReport, TrialOutcome, TrialTask

CONCURRENCY = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20, help="in warm slots")
    parser.add_argument("--stock", type=int, default=4, help="nested Ray Train runs")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, ray_cluster(cpus=CONCURRENCY):
        warm_s = warm_slots(chosen.trials, Path(folder)) / chosen.trials
        stock_s = nested_runs(chosen.stock, Path(folder)) / chosen.stock
    print(f"| {CONCURRENCY} at a time | trials | seconds a trial |\n| --- | ---: | ---: |")
    print(f"| warm slots | {chosen.trials} | {warm_s:.2f} |")
    print(f"| nested Ray Train runs | {chosen.stock} | {stock_s:.2f} |")
    print(f"\na trial costs 1/{stock_s / warm_s:.1f} of the nested run")


class Trials:
    """Hands out so many trials and lets each report once."""

    def __init__(self, count: int, folder: Path) -> None:
        self.left, self.ended, self._folder = count, 0, folder

    def next_task(self) -> TrialTask | None:
        if self.left == 0:
            return None
        self.left -= 1
        return TrialTask("startup", self.left, TrialConfig(), self._folder, self._folder, seed=0)

    def on_event(self, event: Event) -> bool:
        if isinstance(event.what, EpochReport):
            return True
        assert event.what.outcome is not None, event.what.message
        self.ended += 1
        return False

    def on_lost(self, number: int, cause: str, *_: object) -> None:
        raise AssertionError(cause)

    def wants_to_stop(self) -> bool:
        return False


def train_nothing(task: TrialTask, report: Any, device: torch.device, **_: object) -> TrialOutcome:
    report(EpochReport(1, {"val_gap": 0.5}, "none", ""))
    return TrialOutcome("complete", 1, 0.5, {})


def warm_slots(count: int, folder: Path) -> float:
    """Seconds for ``count`` trials."""
    from dmlray.sweep.slot import SlotSettings
    from dmlray.sweep.tuner import run_trials

    trials, started = Trials(count, folder), time.perf_counter()
    run_trials(trials, SlotSettings(1, 0, train_nothing, folder / "slots"), CONCURRENCY)
    assert trials.ended == count
    return time.perf_counter() - started


def nested_runs(count: int, folder: Path) -> float:
    """Seconds for ``count`` trials, each a Ray Train run of its own."""
    from ray import tune
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def work() -> None:
        import ray.train

        ray.train.report({"val_gap": 0.5})

    def trial(config: dict[str, object]) -> None:
        run_config = RunConfig(name=f"run-{os.getpid()}-{time.time_ns()}", storage_path=str(folder / "nested"))
        scaling = ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1})
        tune.report(TorchTrainer(work, scaling_config=scaling, run_config=run_config).fit().metrics or {"val_gap": 0.5})

    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    started = time.perf_counter()
    results = tune.Tuner(
        tune.with_resources(trial, tune.PlacementGroupFactory([{"memory": 1}])),
        param_space={"number": tune.grid_search(list(range(count)))},
        tune_config=tune.TuneConfig(max_concurrent_trials=CONCURRENCY),
        run_config=tune.RunConfig(name="stock", storage_path=str(folder / "stock"), verbose=0),
    ).fit()
    assert results.num_errors == 0, results.errors
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
