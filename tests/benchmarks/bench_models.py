"""Training speed of each architecture against a plain PyTorch loop: `python -m tests.benchmarks.bench_models`.

Both train the same layers on the same videos in one process, epoch by epoch in turn. The ceiling is a product of two
square matrices, float32 on a CPU and bfloat16 on a GPU; shares count the operations of real frames only. Waiting is the
share of an epoch in which a loop has no batch to go on with, which on a GPU may still be at work on those before.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dmlray.config import TrialConfig
from tests.benchmarks.model_data import Videos, make_videos
from tests.benchmarks.model_loops import own_loop, plain_loop, training_flops


@dataclass(frozen=True)
class Size:
    """What one device is given to do."""

    videos: int
    batch: int
    max_frames: int
    classes: int
    hidden: int
    clusters: int
    single_vectors: int  # videos of the video-level models
    matrix: int


SIZES = {
    "cpu": Size(128, 32, 60, 1000, 256, 32, 8192, 2048),
    "cuda": Size(3072, 256, 300, 3862, 512, 64, 65_536, 8192),
}
VIDEO_LEVEL = ("logistic", "mixture of experts")


def architectures(size: Size) -> dict[str, dict[str, Any]]:
    """Each architecture as a trial's configuration."""
    width, pool = {"hidden": size.hidden}, {"clusters": size.clusters, "dim": size.hidden}
    early = {"fusion": {"kind": "early"}}
    return {
        "logistic": {},
        "mixture of experts": {"head": {"kind": "mixture", "experts": 2}},
        "LSTM": {"encoder": {"kind": "lstm", **width}, "pooling": {"kind": "last"}, **early},
        "biLSTM": {"encoder": {"kind": "lstm", **width, "bidirectional": True}, "pooling": {"kind": "last"}, **early},
        "biGRU": {"encoder": {"kind": "gru", **width, "bidirectional": True}, "pooling": {"kind": "mean"}, **early},
        "attention": {"pooling": {"kind": "attention"}, **early},
        "NetVLAD": {"pooling": {"kind": "netvlad", **pool}, **early},
        "NeXtVLAD": {"pooling": {"kind": "nextvlad", **pool}, **early},
        "DBoF": {"pooling": {"kind": "dbof", **pool, "clusters": 16 * size.clusters}, **early},
        "Transformer": {"encoder": {"kind": "transformer", **width}, **early},
        "SRU": {"encoder": {"kind": "sru", **width}, **early},
        "convolution": {"encoder": {"kind": "convolution", **width}, **early},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--only", nargs="*", help="some architectures")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin none after so many")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    ends, failed = time.perf_counter() + chosen.seconds, []
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = SIZES[device.type]
    peak = ceiling(size.matrix, device)
    print(f"ceiling on {device}: {peak / 1e12:.3f} TFLOP/s; {size}\n")
    second = "s" if device.type == "cuda" else "CPU-second"
    headings = ["", f"videos per {second}", "ms a step", "waiting", "plain loop", "waiting", "times as fast"]
    print(f"| {' | '.join([*headings, 'of the ceiling', 'plain'])} |")
    print("| --- |" + " ---: |" * 8, flush=True)
    for name, config, videos in cases(size, chosen.only):
        began = time.perf_counter()
        if began > ends:
            failed.append(f"{name}: no time left")
            continue
        try:
            print(row(name, config, videos, device, chosen.rounds, peak), flush=True)
        except RuntimeError as error:  # the others are still worth knowing
            failed.append(f"{name}: {error}")
        print(f"{name}: {time.perf_counter() - began:.1f} s", file=sys.stderr)
    if failed:
        raise SystemExit("\n".join(failed))


def cases(size: Size, only: Sequence[str] | None) -> Iterator[tuple[str, TrialConfig, Videos]]:
    """Each architecture, or ``only`` some, with its configuration and its videos."""
    with tempfile.TemporaryDirectory() as folder:
        data = {
            "frame": make_videos(Path(folder) / "frame", "frame", size.videos, size.max_frames, size.classes),
            "video": make_videos(Path(folder) / "video", "video", size.single_vectors, 1, size.classes),
        }
        for name, parts in architectures(size).items():
            if not only or name in only:
                level = "video" if name in VIDEO_LEVEL else "frame"
                batch = 8 * size.batch if level == "video" else size.batch
                settings = {"batch_size": batch, "bucketing": level == "frame", "epochs": 10**6, **parts}
                yield name, TrialConfig.model_validate(settings), data[level]


def row(name: str, config: TrialConfig, videos: Videos, device: torch.device, rounds: int, peak: float) -> str:
    """One line of the table: medians of ``rounds`` epochs of each loop, after one to warm up."""
    loops = {"own": own_loop(config, videos, device), "plain": plain_loop(config, videos, device)}
    for epoch in loops.values():
        epoch()
    times: dict[str, list[float]] = {which: [] for which in loops}
    waits: dict[str, list[float]] = {which: [] for which in loops}
    for number in range(rounds):
        print(f"{name}: round {number + 1}", file=sys.stderr)
        for which, epoch in loops.items():
            times[which].append(seconds(lambda: waits[which].append(epoch()), device))  # noqa: B023 (called at once)
    count, flops = len(videos.features), training_flops(config, videos)
    speed = {which: count / statistics.median(each) for which, each in times.items()}
    ratio = statistics.median(plain / own for own, plain in zip(times["own"], times["plain"], strict=True))
    shares = [f"{100 * flops * speed[which] / peak:.0f} %" for which in loops]
    step_ms = 1000 * config.batch_size / speed["own"]
    own_wait, plain_wait = (f"{100 * statistics.median(waits[which]):.0f} %" for which in loops)
    cells = [f"{speed['own']:,.0f}", f"{step_ms:,.1f}", own_wait, f"{speed['plain']:,.0f}", plain_wait, f"{ratio:.2f}"]
    cells += shares
    return f"| {name} | {' | '.join(cells)} |"


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Time until a GPU has done it; on a CPU the time of all threads, which other processes do not change."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    began = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def ceiling(side: int, device: torch.device) -> float:
    """Operations a second of the best of several products of two matrices."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    one, other = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    torch.mm(one, other)
    return 2 * side**3 / min(seconds(lambda: torch.mm(one, other), device) for _ in range(10))


if __name__ == "__main__":
    main()
