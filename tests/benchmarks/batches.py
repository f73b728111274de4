"""Batches from mapped shards, and their limits, on one core: `python -m tests.benchmarks.batches NAME DATASET`."""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dmlray.config import FramesConfig
from dmlray.data.batch import Batch, Batches
from dmlray.data.dataset import Dataset
from dmlray.data.merge import merge
from dmlray.data.reader import read_videos
from dmlray.data.schema import PRESETS
from tests.data.videos import write_dataset

BATCH, EPOCHS, STEP = 128, 3, 16 << 20


def convert(sources: list[str], out: Path, level: str) -> Path:
    """The TFRecords as a dataset of one shard each, in blocks as a conversion writes them."""
    schema, size = PRESETS[f"yt8m-{level}"], {"frame": 128, "video": 1024}[level]
    return write_dataset(out, schema, [list(merge(read_videos(path, schema), size)) for path in sources]).path


def batches(
    dataset: Dataset, bucketing: bool = False, frames: FramesConfig | None = None, shuffle: bool = True
) -> dict[str, float]:
    """Whole epochs after one that touches every page of the map."""
    source = Batches(
        dataset,
        BATCH,
        frames=frames or FramesConfig(),
        modalities=None,
        seed=0,
        shuffle=shuffle,
        bucketing=bucketing,
    )
    base = _resident("RssAnon")
    first_ever, figures = _first(source, 0), _Figures()
    for batch in source.epoch(0):
        figures.see(batch)
    runs = [_timed(lambda number=number: sum(len(batch) for batch in source.epoch(number))) for number in range(EPOCHS)]
    return {
        **_medians(runs),
        "padding_percent": 100 * figures.padding / figures.cells,
        "first_batch_ms": statistics.median(_first(source, number) for number in range(1, 6)),
        "first_ever_ms": first_ever,
        "extra_mb": (figures.resident - base) / 1e6,
    }


def memcpy(dataset: Dataset) -> dict[str, float]:
    """As many bytes as the chosen frames have, from warm memory into warm memory."""
    source, target = np.ones(STEP, np.uint8), np.ones(STEP, np.uint8)

    def run() -> int:
        left = _chosen_bytes(dataset)
        while left > 0:
            target[: min(left, STEP)] = source[: min(left, STEP)]
            left -= STEP
        return len(dataset)

    return _medians([_timed(run) for _ in range(EPOCHS)])


def read_map(dataset: Dataset) -> dict[str, float]:
    """The columns of features from first to last, copied into warm memory without looking at videos."""
    target = np.empty(STEP, np.uint8)

    def run() -> int:
        for block in {id(block): block for block, _ in dataset.locate(np.arange(len(dataset)))}.values():
            for frames in block.features.values():
                flat = frames.reshape(-1).view(np.uint8)
                for first in range(0, len(flat), STEP):
                    piece = flat[first : first + STEP]
                    target[: len(piece)] = piece
        return len(dataset)

    run()
    return _medians([_timed(run) for _ in range(EPOCHS)])


class _Figures:
    def __init__(self) -> None:
        self.padding = self.cells = self.resident = 0

    def see(self, batch: Batch) -> None:
        self.padding += int((~batch.mask).sum())
        self.cells += batch.mask.numel()
        self.resident = max(self.resident, _resident("RssAnon"))


def _first(source: Batches, epoch: int) -> float:
    started = time.perf_counter()
    next(source.epoch(epoch))
    return 1000 * (time.perf_counter() - started)


def _timed(run: Callable[[], int]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    videos = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"videos_per_s": videos / wall, "videos_per_cpu_s": videos / cpu}


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def _chosen_bytes(dataset: Dataset) -> int:
    schema = dataset.schema
    if schema.level == "video":
        return len(dataset) * 4 * sum(modality.width for modality in schema.modalities)
    places = dataset.locate(np.arange(len(dataset)))
    frames = sum(min(block.frames(row).stop - block.frames(row).start, schema.max_frames) for block, row in places)
    return frames * sum(modality.width for modality in schema.modalities)


def _resident(key: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


CONTENDERS: dict[str, Callable[[Dataset], dict[str, float]]] = {
    "shuffled": batches,
    "in-order": lambda dataset: batches(dataset, shuffle=False),
    "bucketed": lambda dataset: batches(dataset, bucketing=True),
    "random-30": lambda dataset: batches(dataset, frames=FramesConfig(select="random", count=30)),
    "map": read_map,
    "memcpy": memcpy,
}

if __name__ == "__main__":
    name, folder = sys.argv[1:]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    print(json.dumps(CONTENDERS[name](Dataset.open(Path(folder)))))
