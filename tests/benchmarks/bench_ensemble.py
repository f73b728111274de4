"""Ensemble selection and GAP@20 against the official calculator, and how the cost grows.

    python -m tests.benchmarks.bench_ensemble [--videos 20000 --members 30]

Members are drawn: each video has 300 likely classes of 3,862, which every member scores by a common logit and noise of
its own, so that about 230 classes of a video stand in one of the stores.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dmlray.data.predictions import Predictions
from dmlray.data.ragged import Ragged
from dmlray.ensemble.pairs import pair_blocks
from dmlray.ensemble.selection import select
from dmlray.metrics.gap import global_average_precision
from dmlray.metrics.spans import in_spans
from tests.benchmarks.official_gap import official_gap
from tests.benchmarks.race import run_child

CLASSES, LIKELY, KEPT = 3862, 300, 50


def stores(videos: int, members: int, seed: int = 0) -> list[Predictions]:
    """Top-50 stores of the same videos, of members of differing quality."""
    random = np.random.default_rng(seed)
    classes = random.integers(0, CLASSES - LIKELY, videos)[:, None] + np.arange(LIKELY, dtype=np.int32)
    common = random.normal(-5.0, 2.0, (videos, LIKELY)).astype(np.float32)
    true = random.random((videos, LIKELY), dtype=np.float32) < 1 / (1 + np.exp(-common))
    offsets = np.concatenate([[0], np.cumsum(true.sum(axis=1))])
    truth = Ragged(offsets, classes[true].astype(np.int64))
    ids = np.array([f"{video:06d}" for video in range(videos)], dtype=object)
    drawn = []
    for member in range(members):
        noise = random.standard_normal((videos, LIKELY), dtype=np.float32)
        scores = 1 / (1 + np.exp(-(common + (1.0 + 0.03 * member) * noise)))
        best = np.argsort(-scores, axis=1)[:, :KEPT]
        labels = np.take_along_axis(classes, best, axis=1).astype(np.int32)
        drawn.append(Predictions(ids, labels, np.take_along_axis(scores, best, axis=1), truth, CLASSES))
    return drawn


def measure_selection(videos: int, members: int, picks: int) -> dict[str, float]:
    """Seconds and peak memory of one selection, and the memory of the stores alone."""
    drawn = stores(videos, members)
    before = _resident()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak
    start = time.perf_counter()
    blocks = list(pair_blocks(drawn, np.arange(videos)))
    chosen = select(blocks, top=5, size=picks)
    seconds = time.perf_counter() - start
    pairs = sum(len(block.classes) for block in blocks)
    return {
        "seconds": seconds,
        "stores_mb": sum(store.labels.nbytes + store.scores.nbytes for store in drawn) / 1e6,
        "extra_mb": _resident("VmHWM") - before,
        "pairs_per_video": pairs / videos,
        "gap": chosen.curve[chosen.kept - 1],
    }


def measure_gap(videos: int, rounds: int = 3) -> dict[str, float]:
    """Median seconds of GAP@20 of a dense matrix: the official calculator, ours, one read of it; round by round.

    Ours and the read take one thread, and as many as there are cores.
    """
    random = np.random.default_rng(0)
    scores = random.random((videos, CLASSES), dtype=np.float32)
    labels = random.random((videos, CLASSES), dtype=np.float32) < 3 / CLASSES
    contenders: dict[str, Callable[[], object]] = {"official_1": lambda: official_gap(scores, labels)}
    for threads in sorted({1, len(os.sched_getaffinity(0))}):
        contenders[f"ours_{threads}"] = _threaded(threads, lambda: global_average_precision(scores, labels))
        contenders[f"read_{threads}"] = _threaded(
            threads, lambda: max(in_spans(lambda span: scores[span].max(), videos))
        )
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            seconds[name] += [_seconds(call) for _ in range(1 if name == "official_1" else 3)]
    return {name: statistics.median(each) for name, each in seconds.items()}


def measure_official_step(videos: int, tries: int = 2) -> dict[str, float]:
    """Mean seconds of one try of a greedy step on dense scores: a member added to the sum, and its official GAP."""
    drawn = stores(videos, tries)
    rows = np.arange(videos)[:, None]
    total, labels = np.zeros((videos, CLASSES), np.float32), np.zeros((videos, CLASSES), dtype=bool)
    truth = drawn[0].truth
    labels[np.repeat(rows[:, 0], np.diff(truth.offsets)), truth.values] = True
    seconds = 0.0
    for store in drawn:
        member = np.zeros_like(total)
        member[rows, store.labels] = store.scores
        start = time.perf_counter()
        total = total + member
        official_gap(total, labels)
        seconds += time.perf_counter() - start
    return {"seconds": seconds / tries, "tries": tries}


def main() -> None:
    """Print the tables; children keep the memory of one measurement out of the next."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=20_000)
    parser.add_argument("--members", type=int, default=30)
    parser.add_argument("--picks", type=int, default=25)
    parser.add_argument("--child", choices=("selection", "gap", "official"))
    chosen = parser.parse_args()
    if chosen.child == "selection":
        print(json.dumps(measure_selection(chosen.videos, chosen.members, chosen.picks)))
    elif chosen.child == "gap":
        print(json.dumps(measure_gap(chosen.videos)))
    elif chosen.child == "official":
        print(json.dumps(measure_official_step(chosen.videos)))
    else:
        _tables(chosen)


def _tables(chosen: Any) -> None:
    gap = _child("gap", 50_000, 1, 1)
    print("| GAP@20 of 50,000 videos x 3,862 classes | threads | seconds | official, times | reads |")
    print("| --- | ---: | ---: | ---: | ---: |")
    names = {"official": "official calculator", "ours": "dmlray", "read": "one read (maximum)"}
    for key, seconds in gap.items():
        name, threads = key.split("_")
        figures = f"{seconds:.3f} | {gap['official_1'] / seconds:.0f} | {seconds / gap[f'read_{threads}']:.1f}"
        print(f"| {names[name]} | {threads} | {figures} |")
    base = _child("selection", chosen.videos, chosen.members, chosen.picks)
    step = _child("official", chosen.videos, 1, 1)
    whole = chosen.members * chosen.picks
    plain = step["seconds"] * whole
    few = f"{step['tries']:.0f} of its {whole} tries of a member, {step['seconds']:.1f} s each"
    print(f"\nGreedy with the official calculator: {plain:,.0f} s (extrapolated from {few});")
    print(f"dmlray {base['seconds']:.1f} s: {plain / base['seconds']:,.0f} times as fast.\n")
    print("| videos | members | seconds | stores MB | more at the peak MB | classes kept a video | GAP |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    sizes = [(chosen.videos, chosen.members), *((videos, 10) for videos in (5_000, 20_000, 80_000))]
    for videos, members in [*sizes, (20_000, 20)]:
        found = base if (videos, members) == sizes[0] else _child("selection", videos, members, chosen.picks)
        cells = (found["stores_mb"], found["extra_mb"], found["pairs_per_video"])
        figures = " | ".join(f"{cell:,.0f}" for cell in cells)
        print(f"| {videos:,} | {members} | {found['seconds']:.1f} | {figures} | {found['gap']:.6f} |")


def _child(kind: str, videos: int, members: int, picks: int) -> dict[str, float]:
    arguments = ["--child", kind, "--videos", str(videos), "--members", str(members), "--picks", str(picks)]
    return run_child([sys.executable, "-m", "tests.benchmarks.bench_ensemble", *arguments])


def _threaded(threads: int, call: Callable[[], object]) -> Callable[[], object]:
    def threaded() -> object:
        torch.set_num_threads(threads)
        return call()

    return threaded


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _resident(key: str = "VmRSS") -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024 / 1e6


if __name__ == "__main__":
    main()
