"""Arrow shards to padded batches on one core: `python -m tests.benchmarks.bench_batches [--rounds 5]`.

tf.data reads the same videos from their TFRecords in the interpreter that DMLRAY_TF_PYTHON names; without, it is left
out.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.batches import convert
from tests.benchmarks.race import Figures, race, table
from tests.benchmarks.shards import frame_shard, video_shard

TENSORFLOW = os.environ.get("DMLRAY_TF_PYTHON")
SPEED = {"videos_per_cpu_s": "videos per CPU-second", "videos_per_s": "videos/s"}
COMFORT = {
    "padding_percent": "padding, %",
    "first_batch_ms": "first batch of an epoch, ms",
    "first_ever_ms": "first of the process, ms",
    "extra_mb": "extra memory, MB",
}
BOTH = {"dmlray, shuffled": "shuffled", "dmlray, in order": "in-order"}
ROWS = {**BOTH, "dmlray, bucketed": "bucketed", "dmlray, 30 random frames": "random-30"}
LIMITS = {"limit: reading the map in order": "map", "limit: memcpy of the chosen frames": "memcpy"}
TF_ROW = "tf.data from TFRecords, parsed by batch"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--frame-videos", type=int, default=500, help="in each frame-level shard")
    parser.add_argument("--level", choices=["frame", "video"], help="only this one")
    parser.add_argument("--videos", type=int, default=10000, help="in each video-level shard")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for level, records in (("frame", chosen.frame_videos), ("video", chosen.videos)):
            if chosen.level not in (None, level):
                continue
            paths = [str(Path(folder) / f"{level}{number}.tfrecord") for number in range(chosen.shards)]
            for number, path in enumerate(paths):
                (frame_shard if level == "frame" else video_shard)(Path(path), records, number)
            dataset = convert(paths, Path(folder) / level, level)
            results = race(contenders(level, records, paths, dataset), chosen.rounds)
            report(f"{level}-level, {chosen.shards} shards of {records} videos, {chosen.rounds} rounds", results)


def contenders(level: str, records: int, paths: list[str], dataset: Path) -> dict[str, list[str]]:
    own = [sys.executable, "-m", "tests.benchmarks.batches"]
    names = ROWS if level == "frame" else BOTH
    rows = {row: [*own, name, str(dataset)] for row, name in (names | LIMITS).items()}
    if TENSORFLOW:
        script = str(Path(__file__).with_name("reader_tensorflow.py"))
        rows[TF_ROW] = [TENSORFLOW, script, f"{level}-batch", str(records), *paths]
    return rows


def report(title: str, results: dict[str, Figures]) -> None:
    if TF_ROW in results:
        figures = results[TF_ROW]
        figures["videos_per_cpu_s"] = figures["videos_per_s"] * figures["mb_per_cpu_s"] / figures["mb_per_s"]
    print(f"\n{title}\n\n{table(results, SPEED, 'videos_per_cpu_s')}\n")
    own = {name: figures for name, figures in results.items() if name in ROWS}
    print(table(own, COMFORT, "first_batch_ms"))


if __name__ == "__main__":
    main()
