"""Conversion through Ray Data, by one worker and by two: `python -m tests.benchmarks.bench_convert`.

Each run is a process of its own that starts Ray, converts once to warm the workers up, and then measures. What disk
the files go to counts: TMPDIR=/dev/shm shows what the workers themselves are capable of.
The genuine shards of ../shared/data are converted too, where they are, with their schema named and with it guessed.
"""

import argparse
import json
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.race import REPOSITORY, race, table
from tests.benchmarks.shards import frame_shard

SHARED = REPOSITORY.parent / "shared" / "data"
COLUMNS = {"seconds": "seconds", "mb_per_s": "MB/s", "videos_per_s": "videos/s"}
GENUINE = {
    "yt8m_video": ("yt8m-video", ["train=validate00[0-6]*", "validation=validate007*", "test=validate008*"]),
    "audioset": ("audioset", ["train=train/*@0-90", "validation=train/*@90-100", "test=eval/*"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shards", type=int, default=8, help="frame-level shards of 500 videos, 123 MB each")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(chosen.shards):
            frame_shard(Path(folder) / f"train{number}.tfrecord", 500, number)
        contenders = {
            f"{workers} worker{'s' if workers > 1 else ''}": child(workers, folder, "yt8m-frame", ["train=train*"])
            for workers in (2, 1)
        }
        print(f"\nframe-level, {chosen.shards} shards of 500 videos, median of {chosen.rounds} interleaved rounds\n")
        print(table(race(contenders, chosen.rounds), COLUMNS, "mb_per_s"))
        if SHARED.is_dir():
            genuine = {
                f"{name}, schema {how}": child(2, SHARED / name, preset if how == "named" else "guess", rules)
                for name, (preset, rules) in GENUINE.items()
                for how in ("named", "guessed")
            }
            print(f"\ngenuine shards, 2 workers, median of {chosen.rounds} interleaved rounds\n")
            print(table(race(genuine, chosen.rounds), COLUMNS, "seconds"))


def child(workers: int, source: str | Path, schema: str, rules: list[str]) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.bench_convert", "--run", str(workers), str(source), schema, *rules]


def run(workers: int, source: Path, schema: str, rules: list[str]) -> None:
    """One conversion, after another that had the workers import what they need."""
    from dmlray.cluster import ray_cluster
    from dmlray.data.convert import convert
    from dmlray.data.schema import PRESETS

    logging.disable(logging.WARNING)
    files = list(source.rglob("*.tfrecord"))
    with tempfile.TemporaryDirectory() as folder, ray_cluster(cpus=workers):
        convert(source, Path(folder) / "warm", PRESETS.get(schema), rules)
        shutil.rmtree(Path(folder) / "warm")
        start = time.perf_counter()
        report = convert(source, Path(folder) / "out", PRESETS.get(schema), rules)
        seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in files)
    print(json.dumps({"seconds": seconds, "mb_per_s": size / seconds / 1e6, "videos_per_s": report.videos / seconds}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run(int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], sys.argv[5:])
    else:
        main()
