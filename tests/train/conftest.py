"""A dataset in memory and a small model with dropout, to train in the loop; and whole trials over Arrow shards."""

import shutil
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dmlray.config import TrialConfig
from dmlray.data.batch import Batch
from dmlray.model.classifier import ModelOutput
from dmlray.model.disturb import Mixing
from dmlray.train.checkpoint import Best, CheckpointState
from dmlray.train.evaluate import SplitResult, evaluate
from dmlray.train.loop import Training
from dmlray.train.optim import build_optimizer
from dmlray.train.state import capture
from tests.data.videos import FRAME, VIDEO
from tests.train.trials import CPU, Ran, make_task, run, write_data

CLASSES = 7


class SmallModel(nn.Module):
    """Mean over frames, dropout, a hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, CLASSES))

    def forward(self, features: dict[str, Tensor], mask: Tensor, mixing: Mixing | None = None) -> ModelOutput:
        frames = features["visual"] * mask[..., None]
        logits = self.layers(frames.sum(dim=1) / mask.sum(dim=1, keepdim=True))
        return ModelOutput(logits, 0.01 * logits.square().mean())


class MemoryBatches:
    """Videos whose labels depend on their features, in an order that depends on the epoch."""

    def __init__(self, videos: int = 40, size: int = 8, shuffle: bool = True) -> None:
        rng = np.random.default_rng(7)
        self.features = rng.standard_normal((videos, 3, 4)).astype(np.float32)
        self.labels = np.stack([self.features[:, 0].argmax(axis=1), 4 + self.features[:, 0, :2].argmax(axis=1)], axis=1)
        self.labels[::5, 1] = -1
        self.size, self.shuffle = size, shuffle

    def epoch(self, epoch: int) -> Generator[Batch, None, None]:
        videos = len(self.labels)
        order = np.random.default_rng(epoch).permutation(videos) if self.shuffle else np.arange(videos)
        for first in range(0, videos, self.size):
            rows = order[first : first + self.size]
            yield Batch(
                features={"visual": torch.from_numpy(self.features[rows])},
                mask=torch.ones(len(rows), 3, dtype=torch.bool),
                labels=torch.from_numpy(self.labels[rows]),
                ids=[f"v{row}" for row in rows],
                indices=rows,
            )


@pytest.fixture
def config() -> TrialConfig:
    return TrialConfig.model_validate(
        {"epochs": 5, "optimizer": {"kind": "adam", "schedule": {"kind": "staircase", "decay_examples": 30}}}
    )


@pytest.fixture
def batches() -> MemoryBatches:
    return MemoryBatches()


@pytest.fixture
def start(config: TrialConfig) -> Callable[[], Training]:
    """Begins the same training again and again."""

    def begin() -> Training:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = SmallModel()
        return Training(model, build_optimizer(model, config.optimizer), config, seed=3, device=CPU)

    return begin


@pytest.fixture
def snapshot() -> Callable[[Training], CheckpointState]:
    """What a checkpoint of a training holds."""

    def take(training: Training) -> CheckpointState:
        best = Best(epoch=training.epoch, value=0.5, metrics={"val_gap": 0.5})
        return capture(training, "fingerprint", best)

    return take


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Video-level splits."""
    return write_data(tmp_path_factory.mktemp("video"), VIDEO)


@pytest.fixture(scope="session")
def frame_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frame-level splits."""
    return write_data(tmp_path_factory.mktemp("frame"), FRAME)


@pytest.fixture(scope="session")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A trial that ran through its 5 epochs. For all tests: look, do not touch."""
    return run(make_task(data, tmp_path_factory.mktemp("whole") / "0"))


@pytest.fixture
def own_whole(whole: Ran, tmp_path: Path) -> Ran:
    """The same, to be touched."""
    return _copy(whole, tmp_path / "own")


@pytest.fixture(scope="session")
def _cut(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return run(make_task(data, tmp_path_factory.mktemp("cut") / "0"), stop_after=3)


@pytest.fixture
def cut(_cut: Ran, tmp_path: Path) -> Ran:
    """A trial that was stopped after 3 of its 5 epochs, to be touched."""
    return _copy(_cut, tmp_path / "cut")


@pytest.fixture
def worsening(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """A trial whose first epoch is its best, because ``val_gap`` falls as the weights grow; to be touched."""

    def evaluate_weights(model: nn.Module, *others: Any) -> SplitResult:
        result = evaluate(model, *others)
        norm = sum(float(parameter.detach().norm()) for parameter in model.parameters())
        return replace(result, metrics=result.metrics | {"gap": 1 / (1 + norm)})

    monkeypatch.setattr("dmlray.train.trial.evaluate", evaluate_weights)
    ran = run(make_task(data, tmp_path / "worsening"))
    assert ran.outcome.best_epoch == 1
    return ran


def _copy(ran: Ran, directory: Path) -> Ran:
    shutil.copytree(ran.task.directory, directory)
    return replace(ran, task=replace(ran.task, directory=directory))
