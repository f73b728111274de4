"""What evaluating a whole validation split takes, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FEW, VIDEOS, CLASSES, GIB = 4_096, 20_000, 3_862, 2**30
CODE = f"""
import json, re
from pathlib import Path
import numpy as np, torch
from torch import nn
from dmlray.data.batch import Batch
from dmlray.model.classifier import ModelOutput
from dmlray.train.evaluate import evaluate

class Linear(nn.Linear):
    def forward(self, features, mask):
        return ModelOutput(super().forward(features["visual"][:, 0]), torch.zeros(()))

class Source:
    def __init__(self, videos):
        self.videos = videos

    def epoch(self, epoch):
        random = np.random.default_rng(0)
        for first in range(0, self.videos, 1024):
            rows = np.arange(first, min(first + 1024, self.videos))
            frames = torch.from_numpy(random.standard_normal((len(rows), 1, 128), np.float32))
            labels = torch.from_numpy(random.integers(0, {CLASSES}, (len(rows), 4)))
            mask = torch.ones(len(rows), 1, dtype=torch.bool)
            yield Batch({{"visual": frames}}, mask, labels, [f"v{{row}}" for row in rows], rows)

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

torch.set_num_threads(1)
device = torch.device("cpu")
evaluate(Linear(128, {CLASSES}), Source({FEW}), {CLASSES}, device)
before = peak()  # with all that libraries load and keep on first use, and the batch under way
result = evaluate(Linear(128, {CLASSES}), Source({VIDEOS}), {CLASSES}, device)
print(json.dumps([before, peak(), len(result.predictions.ids), result.metrics["gap"]]))
"""


@pytest.mark.thorough
def test_evaluation_stays_below_a_gibibyte() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"},  # or holes in the heap count too
    )
    before, peak, videos, gap = json.loads(done.stdout)
    print(f"{(peak - before) / 2**20:.0f} MiB more than for {FEW} videos, the whole process {peak / 2**20:.0f} MiB")
    assert videos == VIDEOS
    assert 0 < gap < 1
    assert peak < GIB, "with the interpreter and all libraries"
    assert peak - before < 4096 * (VIDEOS - FEW), "a quarter of all scores"
