"""TFRecord to padded batches on one core: `python -m tests.benchmarks.bench_reader`.

Peers that need TensorFlow run in the interpreter that DMLRAY_TF_PYTHON names, and are left out without it.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.race import race, table
from tests.benchmarks.readers import write_parquet
from tests.benchmarks.shards import frame_shard, video_shard

TENSORFLOW = os.environ.get("DMLRAY_TF_PYTHON")
COLUMNS = {
    "mb_per_cpu_s": "MB per CPU-second",
    "mb_per_s": "MB/s",
    "videos_per_s": "videos/s",
    "extra_mb": "extra RSS, MB",
}
LIMITS = {"limit: page cache into warm memory": "page-cache", "limit: memcpy": "memcpy", "limit: CRC32C": "crc"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frame-videos", type=int, default=500, help="in each of two shards")
    parser.add_argument("--videos", type=int, default=10000, help="in each of two video-level shards")
    parser.add_argument("--level", choices=["frame", "video"], help="only this one")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for level, records in (("frame", chosen.frame_videos), ("video", chosen.videos)):
            if chosen.level not in (None, level):
                continue
            paths = [make(Path(folder) / f"{level}{number}.tfrecord", level, records, number) for number in range(2)]
            results = race(contenders(level, records, paths), chosen.rounds, **tensorflow_path())
            print(
                f"\n{level}-level, {records} videos a shard, median of {chosen.rounds} interleaved rounds, one core\n"
            )
            print(table(results, COLUMNS, "mb_per_cpu_s"))


def make(path: Path, level: str, records: int, seed: int) -> str:
    (frame_shard if level == "frame" else video_shard)(path, records, seed)
    write_parquet(str(path), level)
    return str(path)


def contenders(level: str, records: int, paths: list[str]) -> dict[str, list[str]]:
    own = [sys.executable, "-m", "tests.benchmarks.readers"]
    rows = {
        "dmlray, both CRCs checked": [*own, f"dmlray-{level}", str(records), *paths],
        "PyPI tfrecord, no CRC": [*own, f"tfrecord-{level}", str(records), *paths],
        "Parquet, uncompressed": [*own, f"parquet-{level}", str(records), *paths],
    }
    if TENSORFLOW:
        script = str(Path(__file__).with_name("reader_tensorflow.py"))
        for kind in ("batch", "record") if level == "frame" else ("batch",):
            for name, suffix in (("one core", ""), ("all cores", "-all-cores")):
                command = [TENSORFLOW, script, f"{level}-{kind}{suffix}", str(records), *paths]
                rows[f"tf.data, parsed by {kind}, {name}"] = command
        if level == "video":
            rows["Ray Data read_tfrecords, no CRC"] = [
                sys.executable, "-m", "tests.benchmarks.reader_ray", str(records), *paths,
            ]  # fmt: skip
    return rows | {name: [*own, limit, str(records), *paths] for name, limit in LIMITS.items()}


def tensorflow_path() -> dict[str, str]:
    """Ray Data's reader imports TensorFlow: lent from the other environment, behind everything of this one."""
    return (
        {"DMLRAY_TF_SITE": str(next(Path(TENSORFLOW).parents[1].glob("lib/python3*/site-packages")))}
        if TENSORFLOW
        else {}
    )


if __name__ == "__main__":
    main()
