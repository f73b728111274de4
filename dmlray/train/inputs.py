"""What a trial reads: its splits, and their videos in batches."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch

from dmlray.config import FramesConfig
from dmlray.data.batch import Batches
from dmlray.data.dataset import open_splits
from dmlray.data.prefetch import Prefetched
from dmlray.seeding import derive_seed
from dmlray.train.distributed import Peers
from dmlray.train.limits import Watch, Watched
from dmlray.train.loop import BatchSource
from dmlray.train.shares import Shares
from dmlray.train.task import TrialTask


class TrainingStream(Protocol):
    """Videos to train on that are not converted, such as `data.stream.RayStream`."""

    @property
    def fingerprint(self) -> str:
        """Changes when they do."""

    def batches(
        self,
        batch_size: int,
        *,
        frames: FramesConfig,
        modalities: tuple[str, ...] | None,
        seed: int,
        bucketing: bool,
        pinned: bool,
    ) -> BatchSource:
        """As `data.batch.Batches` makes them, shuffled."""


class TrialInputs:
    """The ``splits`` of a trial by name, without train where it trains on a ``stream``; all of them are here."""

    def __init__(
        self, task: TrialTask, device: torch.device, stream: TrainingStream | None, peers: Peers, watch: Watch
    ) -> None:
        """Raises as `data.dataset.open_splits` does, and where a split cannot be brought to this node."""
        self._task, self._device, self._stream, self._peers, self._watch = task, device, stream, peers, watch
        self.splits = open_splits(task.data, train=stream is None)
        with watch.paused():
            for split in self.splits.values():
                split.bring()
        self.schema = self.splits["validation"].schema

    @property
    def fingerprint(self) -> str:
        """Changes when the training videos do."""
        return (self._stream or self.splits["train"]).fingerprint

    @property
    def videos(self) -> int | None:
        """To train on; None of a stream, which does not know."""
        return None if self._stream else len(self.splits["train"])

    def batches(self, split: str) -> BatchSource:
        """This worker's share of the videos of ``split``; those of train come in another order every epoch.

        A GPU's batches are made ready beside its work; on a CPU that work would only be in the way of training.
        """
        config, training = self._task.config, split == "train"
        on_gpu = self._device.type == "cuda"
        batches = self._maker(split)(
            config.batch_size,
            frames=config.frames,
            modalities=config.modalities,
            seed=derive_seed(self._task.seed, "order" if training else "evaluation frames"),
            bucketing=config.bucketing,
            pinned=on_gpu,
        )
        shares = batches if self._peers.size == 1 else Shares(batches, self._peers)
        return Watched(Prefetched(shares) if on_gpu else shares, self._watch)

    def _maker(self, split: str) -> Callable[..., BatchSource]:
        if split == "train" and self._stream is not None:
            return self._stream.batches
        return partial(Batches, self.splits[split], shuffle=split == "train")
