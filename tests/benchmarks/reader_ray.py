"""Ray Data's own `read_tfrecords`, video-level, on a Ray of one core; CPU time is that of Ray's whole process tree."""

import os
import sys

os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
os.environ["PYTHONPATH"] = os.environ["DMLRAY_TF_SITE"]  # for Ray's workers
sys.path.append(os.environ["DMLRAY_TF_SITE"])

import json  # noqa: E402
import time  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from pathlib import Path  # noqa: E402

import ray  # noqa: E402
import ray.data  # noqa: E402

from dmlray.cluster import ray_cluster  # noqa: E402


def consume(paths: Sequence[str]) -> int:
    data = ray.data.read_tfrecords(list(paths))
    return sum(len(batch["mean_rgb"]) for batch in data.iter_batches(batch_size=128))


def tree_cpu(root: int) -> float:
    """CPU seconds of a process and its living descendants."""
    spent, children = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            spent[int(entry.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    total, waiting = 0.0, [root]
    while waiting:
        process = waiting.pop()
        total += spent.get(process, 0.0)
        waiting += children.get(process, [])
    return total


if __name__ == "__main__":
    records, *files = sys.argv[1:]
    with ray_cluster(cpus=1):
        consume(files[:1])
        wall, cpu = time.perf_counter(), tree_cpu(os.getpid())
        delivered = consume(files)
        wall, cpu = time.perf_counter() - wall, tree_cpu(os.getpid()) - cpu
    assert delivered == int(records) * len(files)
    size = sum(Path(path).stat().st_size for path in files)
    figures = {"videos_per_s": delivered / wall, "mb_per_s": size / wall / 1e6, "mb_per_cpu_s": size / cpu / 1e6}
    print(json.dumps({**figures, "extra_mb": float("nan")}))
