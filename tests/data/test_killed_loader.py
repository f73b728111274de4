"""Row 37 of the fault matrix: a loader killed in mid-epoch, taken up by another number of workers."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dmlray.data.dataset import Dataset
from tests.data.videos import FRAME, random_block, write_dataset

pytestmark = pytest.mark.thorough

REPOSITORY = Path(__file__).parents[2]
LOADER = """
import os, sys, time
from pathlib import Path
from dmlray.config import FramesConfig
from dmlray.data.batch import Batches
from dmlray.data.dataset import Dataset
folder, log, start, rank, world, pause = sys.argv[1:]
batches = Batches(Dataset.open(Path(folder)), 8, frames=FramesConfig(), modalities=None, seed=4, shuffle=True)
out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
for batch in batches.epoch(3, int(start), int(rank), int(world)):
    os.write(out, (" ".join(batch.ids) + "\\n").encode())  # one write: a step is consumed whole or not at all
    os.fsync(out)
    time.sleep(float(pause))
"""


def loader(dataset: Dataset, log: Path, start: int, rank: int, world: int, pause: float = 0) -> subprocess.Popen[bytes]:
    arguments = [dataset.path, log, start, rank, world, pause]
    return subprocess.Popen([sys.executable, "-c", LOADER, *map(str, arguments)], cwd=REPOSITORY)


def consumed(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


@pytest.mark.parametrize("world", [1, 2, 3])
def test_what_a_killed_loader_left_is_read_once_by_any_number_of_workers(tmp_path: Path, world: int) -> None:
    dataset = write_dataset(tmp_path, FRAME, [[random_block(FRAME, 60, 0)], [random_block(FRAME, 70, 1)]])
    with loader(dataset, tmp_path / "first", 0, 0, 1, pause=0.05) as first:
        while len(consumed(tmp_path / "first")) < 24:
            assert first.poll() is None
        os.kill(first.pid, signal.SIGKILL)
    assert first.returncode == -signal.SIGKILL
    before = consumed(tmp_path / "first")
    assert 24 <= len(before) < len(dataset)
    workers = [loader(dataset, tmp_path / f"rank{rank}", len(before), rank, world) for rank in range(world)]
    assert [worker.wait(120) for worker in workers] == [0] * world
    after = [video for rank in range(world) for video in consumed(tmp_path / f"rank{rank}")]
    assert sorted(before + after) == sorted(dataset.ids)
