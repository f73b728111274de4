"""An epoch of training batches from the memory map and from streams: `python -m tests.benchmarks.bench_stream`.

The same frame-level videos, shuffled, in one process with Ray up; wall-clock time, since a stream's work is done by
Ray's workers. The first epoch of each, which starts workers and touches pages, is not counted.
"""

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from dmlray.cluster import ray_cluster
from dmlray.config import FramesConfig
from dmlray.data.batch import Batch, Batches
from dmlray.data.dataset import Dataset
from dmlray.data.schema import PRESETS
from dmlray.data.stream import RayStream
from dmlray.data.stream_source import StreamSource
from tests.benchmarks.batches import BATCH, convert
from tests.benchmarks.race import table
from tests.benchmarks.shards import frame_shard

COLUMNS = {"videos_per_s": "videos/s", "first_batch_s": "first batch, s"}
Epoch = Callable[[int], Iterator[Batch]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shards", type=int, default=8, help="of 500 videos, 123 MB each")
    chosen = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, ray_cluster(cpus=2):
        paths = [str(Path(folder) / f"tf/train{number}.tfrecord") for number in range(chosen.shards)]
        Path(folder, "tf").mkdir()
        for number, path in enumerate(paths):
            frame_shard(Path(path), 500, number)
        sources = contenders(Path(folder, "tf"), convert(paths, Path(folder, "arrow"), "frame"))
        found: dict[str, list[dict[str, float]]] = {name: [] for name in sources}
        for number in range(chosen.rounds + 1):
            for name, epoch in sources.items():
                found[name].append(timed(epoch, number, 500 * chosen.shards))
    medians = {
        name: {key: statistics.median(run[key] for run in runs[1:]) for key in COLUMNS} for name, runs in found.items()
    }
    print(f"\nframe-level, {chosen.shards} shards of 500 videos, median of {chosen.rounds} interleaved epochs\n")
    print(table(medians, COLUMNS, "videos_per_s"))


def contenders(tfrecords: Path, arrow: Path) -> dict[str, Epoch]:
    schema = PRESETS["yt8m-frame"]
    mapped = Batches(Dataset.open(arrow), BATCH, frames=FramesConfig(), modalities=None, seed=0, shuffle=True)
    rows: dict[str, Epoch] = {"memory map": mapped.epoch}
    for name, folder in (("stream of Arrow shards", arrow), ("stream of TFRecords", tfrecords)):
        stream = RayStream(StreamSource.open(folder, schema))
        rows[name] = stream.batches(
            BATCH, frames=FramesConfig(), modalities=None, seed=0, bucketing=False, pinned=False
        ).epoch
    return rows


def timed(epoch: Epoch, number: int, videos: int) -> dict[str, float]:
    start, first, seen = time.perf_counter(), 0.0, 0
    for batch in epoch(number):
        first = first or time.perf_counter() - start
        seen += len(batch)
    if seen != videos:
        raise SystemExit(f"{seen} videos came, not {videos}")
    return {"videos_per_s": videos / (time.perf_counter() - start), "first_batch_s": first}


if __name__ == "__main__":
    main()
