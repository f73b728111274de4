"""One contender's run. Imports nothing of dmlray: other interpreters use it too."""

import json
import os
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path


def measure(name: str, consume: Callable[[Sequence[str]], int], paths: Sequence[str], records: int) -> None:
    """Run ``consume`` over the first file to warm up, then over all, and print the figures.

    ``consume`` gives the number of videos that it delivered, which must be ``records`` a file.
    """
    baseline = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    consume(paths[:1])
    wall, cpu = time.perf_counter(), _cpu()
    delivered = consume(paths)
    wall, cpu = time.perf_counter() - wall, _cpu() - cpu
    if delivered != records * len(paths):
        raise SystemExit(f"{name} delivered {delivered} videos, not {records * len(paths)}")
    size = sum(Path(path).stat().st_size for path in paths)
    figures = {
        "videos_per_s": delivered / wall,
        "mb_per_s": size / wall / 1e6,
        "mb_per_cpu_s": size / cpu / 1e6,
        "extra_mb": (_resident("VmHWM") - baseline) / 1e6,
    }
    print(json.dumps(figures))


def pin() -> None:
    """Keep to one core; before a library counts the cores."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _cpu() -> float:
    """Seconds of all threads, and of children that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _resident(key: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024
