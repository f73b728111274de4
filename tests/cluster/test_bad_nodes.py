"""Clusters that a sweep cannot run on are refused at its start, by a real head and nodes of this machine."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import dmlray
from tests.cluster.heads import environment, head, node
from tests.data.videos import VIDEO, random_block, write_dataset

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]
TOKEN = "0123456789abcdef" * 2
SPACE = "trials: 1\nspace: {epochs: 1, optimizer: {kind: adam, learning_rate: {float: [0.01, 0.1]}}}\n"
SECONDS = 30.0


def run(home: Path, *words: str) -> "tuple[subprocess.CompletedProcess[str], float]":
    """A command's answer and how long it took."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "dmlray", *words],
        env=environment(home, TOKEN) | {"OMP_NUM_THREADS": "1"},
        cwd=home,  # Ray has workers import from there first
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return done, time.monotonic() - began


@contextmanager
def cluster(home: Path) -> Iterator[tuple[str, list[str]]]:
    """A head without CPUs, its address, and a search on it."""
    for split, videos in (("train", 40), ("validation", 20)):
        write_dataset(home / "data", VIDEO, [[random_block(VIDEO, videos)]], split)
    (home / "space.yaml").write_text(SPACE)
    with head(home, "token", "--num-cpus=0", RAY_AUTH_TOKEN=TOKEN) as address:
        words = ["search", "--data", str(home / "data"), "--space", str(home / "space.yaml"), "--address", address]
        yield address, [*words, "--results", str(home / "results"), "--name", "first"]


def refused(done: "subprocess.CompletedProcess[str]", took_s: float, code: int, words: str) -> None:
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("dmlray: ")]
    assert words in sentence
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert took_s < SECONDS, f"{took_s:.0f} s"


def test_another_dmlray(short: Path) -> None:
    """On a node whose dmlray differs by one line; `dmlray doctor` finds it too."""
    other = short / "other"
    shutil.copytree(Path(dmlray.__file__).parent, other / "dmlray", ignore=shutil.ignore_patterns("__pycache__"))
    (other / "dmlray" / "seeding.py").write_text("# another\n")
    with cluster(short) as (address, search), node(short, address, TOKEN, PYTHONPATH=str(other)):
        refused(*run(short, *search), 69, "has dmlray's code ")
        assert not (short / "results" / "first").exists()
        done, took_s = run(short, "doctor", "--ray", "--address", address)
        assert "has dmlray's code" in " ".join(done.stdout.split())
        assert done.returncode != 0
        assert took_s < SECONDS


def test_a_node_without_disk(short: Path, tmp_path: Path) -> None:
    """Its temporary folder is a file system of 16 MiB."""
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", str(small)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root can mount a small file system")
    try:
        with cluster(short) as (address, search), node(short, address, TOKEN, TMPDIR=str(small)):
            refused(*run(short, *search), 74, "16 MiB free on node ")
            assert not (short / "results" / "first").exists()
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_no_gpu(short: Path) -> None:
    with cluster(short) as (address, search), node(short, address, TOKEN):
        refused(*run(short, *search, "--gpus-per-trial", "1"), 78, "GPU")
        done, took_s = run(short, "doctor", "--ray", "--address", address, "--gpus-per-trial", "1")
        assert "no node has 1 GPUs, which a trial is to have" in " ".join(done.stdout.split())
        assert took_s < SECONDS
        done, took_s = run(short, "plan", *search[1:7], "--gpus-per-trial", "1")
        assert (done.returncode, took_s < SECONDS) == (78, True), done.stderr
