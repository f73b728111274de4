"""What `dmlray predict` makes of the cores: videos a second and the share of all cores' time that is spent on work.

``python -m tests.benchmarks.bench_predict`` measures a package of untrained models of YouTube-8M's size on synthetic
features from the page cache: a logistic regression with a mixture of experts (video-level), or GRUs (frame-level).
On a GPU where there is one, with as many threads as `dmlray predict` takes then.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

import torch

from dmlray.config import TrialConfig
from dmlray.data.schema import PRESETS, Schema
from dmlray.ensemble.scoring import MemberModel, best_device
from dmlray.model.build import build_model
from dmlray.registry.contents import PackageContents, PackagedMember
from dmlray.registry.package import Package
from dmlray.registry.parts import scoring_threads
from dmlray.registry.predict import planned, predict_here
from tests.data.videos import random_block, write_tfrecords

MODELS = {
    "video": [
        {"epochs": 1},
        {"epochs": 1, "fusion": {"kind": "shared", "dim": 512}},
        {"epochs": 1, "head": {"kind": "mixture", "experts": 2}},
    ],
    "frame": [{"epochs": 1}, {"epochs": 1, "encoder": {"kind": "gru", "hidden": 128}}],
}


def package_of(schema: Schema) -> Package:
    """Members as they are born: their work is that of trained ones."""
    torch.manual_seed(0)
    members, described = [], []
    for number, document in enumerate(MODELS[schema.level]):
        config = TrialConfig.model_validate(document)
        share = 1 / len(MODELS[schema.level])
        members.append(MemberModel(str(number), config, build_model(config, schema).eval(), share))
        described.append(
            PackagedMember(
                name=str(number), sweep="bench", trial=number, epoch=1, gap=0.0, weight=share, seed=0,
                config=config, file=f"members/{number}.safetensors", checkpoint="",
            )
        )  # fmt: skip
    contents = PackageContents(
        dmlray="0", name="bench/bench", contents=schema, data={}, videos={}, members=tuple(described), figures={},
        gain=None, summary="", files={},
    )  # fmt: skip
    return Package(Path("bench"), contents, "0" * 64, members, None)


def run(package: Package, source: Path, out: Path, threads: int) -> dict[str, float]:
    """Predict all of ``source`` with ``threads`` threads."""
    videos = 0

    def told(more: int, size: int) -> None:
        nonlocal videos
        videos += more

    wall, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    with planned(package, [str(source)], out, 20, 128) as job:
        predict_here(job, threads, told)
    wall, now = time.perf_counter() - wall, resource.getrusage(resource.RUSAGE_SELF)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return {
        "threads": threads,
        "videos_per_s": videos / wall,
        "share_of_cores": cpu / wall / threads,
        "peak_rss_mb": now.ru_maxrss / 1024,
    }


def main() -> None:
    """Print a line of JSON for one thread and for all cores."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--level", choices=["video", "frame"], default="video")
    parser.add_argument("--videos", type=int, default=8000)
    wanted = parser.parse_args()
    schema = PRESETS[f"yt8m-{wanted.level}"]
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(4):
            block = random_block(schema, wanted.videos // 4, seed=number)
            write_tfrecords(Path(folder) / f"tf/{number}.tfrecord", schema, block)
        device = best_device()
        package = package_of(schema).to(device)
        for threads in sorted({1, scoring_threads(cores, device)}):
            figures = run(package, Path(folder) / "tf", Path(folder) / f"out{threads}", threads)
            print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
