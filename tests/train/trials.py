"""Trials small enough to run by the dozen, over real Arrow shards, and what to look at afterwards."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dmlray.config import TrialConfig
from dmlray.data.reader import VideoBlock
from dmlray.data.schema import Schema
from dmlray.train.task import EpochReport, TrialOutcome, TrialTask
from dmlray.train.trial import run_trial
from tests.data.videos import random_block, write_dataset

CPU = torch.device("cpu")
VIDEOS = {"train": 48, "validation": 24, "test": 16}
LOGISTIC: Mapping[str, Any] = {
    "epochs": 5,
    "batch_size": 16,
    "optimizer": {"kind": "adam", "learning_rate": 0.1},
    "head": {"kind": "logistic", "dropout": 0.3},
}
GRU: Mapping[str, Any] = {
    **LOGISTIC,
    "epochs": 3,
    "encoder": {"kind": "gru", "hidden": 5, "layers": 2, "bidirectional": True, "dropout": 0.4},
    "pooling": {"kind": "attention"},
    "frames": {"select": "random", "count": 3},
}


def write_data(folder: Path, schema: Schema) -> Path:
    """Train, validation and test splits with something to learn."""
    for seed, (split, videos) in enumerate(VIDEOS.items()):
        write_dataset(folder, schema, [[_learnable(random_block(schema, videos, seed))]], split)
    return folder


def _learnable(block: VideoBlock) -> VideoBlock:
    """A label lights up one visual and one audio feature, over faint noise."""
    visual, audio = block.features["visual"], block.features["audio"]
    visual //= 8
    audio //= 8
    rows = np.arange(len(block) + 1) if block.frame_offsets is None else block.frame_offsets
    for video in range(len(block)):
        for label in block.label_values[block.label_offsets[video] : block.label_offsets[video + 1]]:
            visual[rows[video] : rows[video + 1], label % 6] = 255
            audio[rows[video] : rows[video + 1], label // 7] = 255
    return block


def make_task(data: Path, directory: Path, config: Mapping[str, Any] = LOGISTIC) -> TrialTask:
    return TrialTask("sweep", 0, TrialConfig.model_validate(config), data, directory, seed=11)


@dataclass(frozen=True)
class Ran:
    """A task, how it ended and what it reported."""

    task: TrialTask
    outcome: TrialOutcome
    reports: list[EpochReport]

    def resumed(self) -> TrialTask:
        """The task that goes on from the last report."""
        return replace(self.task, checkpoint=self.reports[-1].checkpoint, checkpoint_digest=self.reports[-1].digest)

    def curve(self) -> list[dict[str, float]]:
        """Every epoch's metrics but the timings."""
        names = ("val_gap", "val_map", "val_hit1", "val_perr", "val_loss", "train_loss")
        return [{name: report.metrics[name] for name in names} for report in self.reports]


def run(task: TrialTask, stop_after: int | None = None, device: torch.device = CPU) -> Ran:
    """Run the task; the driver says stop after epoch ``stop_after``."""
    reports: list[EpochReport] = []

    def report(epoch: EpochReport) -> bool:
        reports.append(epoch)
        return epoch.epoch != stop_after

    return Ran(task, run_trial(task, report, device), reports)


def files(task: TrialTask) -> dict[str, bytes]:
    """Everything that the trial left but its log, which holds timings."""
    paths = (path for path in task.directory.rglob("*") if path.is_file() and path.name != "log.jsonl")
    return {str(path.relative_to(task.directory)): path.read_bytes() for path in paths}


def log_lines(task: TrialTask) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (task.directory / "log.jsonl").read_text().splitlines()]


def logged_epochs(task: TrialTask) -> list[int]:
    return [line["epoch"] for line in log_lines(task) if "epoch" in line]


def checkpoints(task: TrialTask) -> set[str]:
    return {path.name for path in (task.directory / "checkpoints").iterdir()}
