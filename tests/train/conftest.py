"""A dataset in memory, a small model with dropout, and the training of both."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dmlray.config import TrialConfig
from dmlray.data.batch import Batch
from dmlray.train.checkpoint import Best, CheckpointState
from dmlray.train.loop import Training
from dmlray.train.optim import build_optimizer

CLASSES = 7
CPU = torch.device("cpu")


@dataclass
class Output:
    logits: Tensor
    penalty: Tensor


class SmallModel(nn.Module):
    """Mean over frames, dropout, a hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, CLASSES))

    def forward(self, features: dict[str, Tensor], mask: Tensor) -> Output:
        frames = features["visual"] * mask[..., None]
        logits = self.layers(frames.sum(dim=1) / mask.sum(dim=1, keepdim=True))
        return Output(logits, 0.01 * logits.square().mean())


class MemoryBatches:
    """Videos whose labels depend on their features, in an order that depends on the epoch."""

    def __init__(self, videos: int = 40, size: int = 8, shuffle: bool = True) -> None:
        rng = np.random.default_rng(7)
        self.features = rng.standard_normal((videos, 3, 4)).astype(np.float32)
        self.labels = np.stack([self.features[:, 0].argmax(axis=1), 4 + self.features[:, 0, :2].argmax(axis=1)], axis=1)
        self.labels[::5, 1] = -1
        self.size, self.shuffle = size, shuffle

    def epoch(self, epoch: int) -> Iterator[Batch]:
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
    return TrialConfig.model_validate({"epochs": 5, "optimizer": {"decay_examples": 30}})


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
        return Training(model, build_optimizer(model.parameters(), config.optimizer), config, seed=3, device=CPU)

    return begin


@pytest.fixture
def snapshot() -> Callable[[Training], CheckpointState]:
    """What a checkpoint of a training holds."""

    def take(training: Training) -> CheckpointState:
        return CheckpointState(
            config=training.config,
            data="fingerprint",
            epoch=training.epoch,
            videos=training.videos,
            best=Best(epoch=training.epoch, value=0.5, metrics={"val_gap": 0.5}),
            model=training.model.state_dict(),
            optimizer=training.optimizer.state_dict(),
        )

    return take


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"
