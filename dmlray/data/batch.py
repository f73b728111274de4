"""Batches for training: padded frames, mask and labels, gathered from the memory map into reused memory."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmlray.config import FramesConfig
from dmlray.data.buffers import Buffers
from dmlray.data.dataset import Dataset
from dmlray.data.frames import choose_frames, chosen_counts
from dmlray.data.gather import Videos, VideoStore, frame_counts
from dmlray.data.order import Bucketing, EpochOrder
from dmlray.data.schema import Modality, Schema
from dmlray.data.shuffle import video_draws
from dmlray.errors import ConfigError

_VIDEOS_TOGETHER = 4096  # whose ids and labels are read at once; the first batch comes alone, to come soon
_VECTORS_TOGETHER = 2048  # that are copied by one call


@dataclass(frozen=True)
class Batch:
    """B videos. A tensor's memory is used again for a later batch once no one holds the tensor.

    features: modality -> (B, T, D), uint8 frames as they came or, video-level, float32 with T = 1; padding is 0.
    mask (B, T) is True on real frames, of which every video has at least one. labels (B, L) int64, padded with -1.
    indices (B,) are the videos' numbers in the dataset.
    """

    features: dict[str, Tensor]
    mask: Tensor
    labels: Tensor
    ids: Sequence[str]
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def part(self, first: int, last: int) -> "Batch":
        """Videos ``first`` to ``last`` - 1 of these, over the same memory."""
        cut = slice(first, last)
        features = {name: tensor[cut] for name, tensor in self.features.items()}
        return Batch(features, self.mask[cut], _trim(self.labels[cut]), self.ids[cut], self.indices[cut])

    def pinned(self) -> "Batch":
        """The same batch in page-locked memory, from which copies to a GPU run beside its work."""
        features = {name: tensor.pin_memory() for name, tensor in self.features.items()}
        labels = self.labels.contiguous().pin_memory()  # or the GPU would be sent a copy that is not pinned
        return Batch(features, self.mask.pin_memory(), labels, self.ids, self.indices)

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch with its tensors on ``device``."""
        features = {name: tensor.to(device, non_blocking=True) for name, tensor in self.features.items()}
        mask, labels = self.mask.to(device, non_blocking=True), self.labels.to(device, non_blocking=True)
        return Batch(features, mask, labels, self.ids, self.indices)


class Collator:
    """Makes batches of the videos of a store: chooses and pads frames. The arguments are those of ``Batches``."""

    def __init__(
        self, schema: Schema, frames: FramesConfig, modalities: tuple[str, ...] | None, seed: int, pinned: bool
    ) -> None:
        self._schema, self._frames, self._seed = schema, frames, seed
        self._modalities = _pick(schema.modalities, modalities)
        self._pinned, self._buffers = pinned, Buffers(pinned)

    def batches(self, store: VideoStore, parts: list[NDArray[np.int64]], epoch: int) -> Iterator[Batch]:
        """Batches of the videos in each of ``parts``. Ids and labels are read for all of them at once."""
        videos, last = Videos.read(store, np.concatenate(parts)), 0
        make = self._frame_level if self._schema.level == "frame" else self._video_level
        together = max(1, _VECTORS_TOGETHER // max(1, len(parts[0]))) if self._schema.level == "video" else 1
        for number in range(0, len(parts), together):
            sizes = [len(part) for part in parts[number : number + together]]
            first, last = last, last + sum(sizes)
            for batch in make(videos.part(first, last), sizes, epoch):
                yield batch.pinned() if self._pinned else batch

    def lengths(self, store: VideoStore, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Frames that a batch holds of each of these videos."""
        return chosen_counts(self._frames, frame_counts(store, indices), self._schema.max_frames)

    def _video_level(self, videos: Videos, sizes: list[int], epoch: int) -> Iterator[Batch]:
        """Batches of ``sizes`` videos, whose vectors are copied together."""
        vectors = {m.name: self._take((len(videos.indices), 1, m.width), m) for m in self._modalities}
        for modality in self._modalities:
            videos.copy_vectors(modality, vectors[modality.name])
        whole = _batch(videos, vectors, torch.ones((len(videos.indices), 1), dtype=torch.bool))
        for last, size in zip(accumulate(sizes), sizes, strict=True):
            cut = slice(last - size, last)
            features = {name: tensor[cut] for name, tensor in vectors.items()}
            labels = whole.labels[cut, : int(videos.label_counts[cut].max(initial=0))]
            yield Batch(features, whole.mask[cut], labels, whole.ids[cut], whole.indices[cut])

    def _frame_level(self, videos: Videos, sizes: list[int], epoch: int) -> Iterator[Batch]:
        """One batch of all the videos."""
        choice = choose_frames(
            self._frames,
            videos.lengths,
            self._schema.max_frames,
            lambda columns: video_draws(videos.indices, self._seed, epoch, columns),
        )
        features = {}
        for modality in self._modalities:
            features[modality.name] = self._take((*choice.positions.shape, modality.width), modality)
            videos.copy_frames(choice, modality, features[modality.name])
        steps = np.arange(choice.positions.shape[1])
        yield _batch(videos, features, torch.from_numpy(steps < choice.counts[:, None]))

    def _take(self, shape: tuple[int, ...], modality: Modality) -> Tensor:
        return self._buffers.take(shape, getattr(torch, modality.dtype))


class Batches:
    """Batches of a dataset, the same for any number of workers.

    ``batch_size`` videos are one step of all workers together. ``modalities`` None means all. Frames are chosen from
    the first ``schema.max_frames`` of a video. Everything random comes from ``seed`` and the epoch. ``bucketing`` makes
    batches of like lengths, which hold less padding; ``pinned`` puts frames where a GPU can fetch them by itself.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        frames: FramesConfig,
        modalities: tuple[str, ...] | None,
        seed: int,
        shuffle: bool,
        bucketing: bool = False,
        pinned: bool = False,
    ) -> None:
        self._dataset, self._batch_size = dataset, batch_size
        self._collator = Collator(dataset.schema, frames, modalities, seed, pinned)
        self._seed, self._shuffle = seed, shuffle
        self._bucketing = Bucketing(partial(self._collator.lengths, dataset), batch_size) if bucketing else None

    def __len__(self) -> int:
        return -(-len(self._dataset) // self._batch_size)

    def epoch(self, epoch: int, start: int = 0, rank: int = 0, world_size: int = 1) -> Generator[Batch, None, None]:
        """Every video from position ``start`` of the epoch's order on, exactly once over all ranks.

        ``start`` is the number of videos that this epoch has consumed so far, by all workers. Every rank gets the same
        number of batches; in the last one, if it holds fewer videos than there are workers, some get a batch of none.
        """
        if not 0 <= rank < world_size or not 0 <= start <= len(self._dataset):
            raise ValueError(f"no rank {rank} of {world_size}, or no start {start} in {len(self._dataset)} videos")
        size = len(self._dataset)
        order = EpochOrder(size, self._seed, epoch, shuffle=self._shuffle, bucketing=self._bucketing)
        firsts, together = list(range(start, size, self._batch_size)), 1
        while firsts:
            now, firsts = firsts[:together], firsts[together:]
            parts = [order.part(n, n + self._batch_size)[rank::world_size] for n in now]
            yield from self._collator.batches(self._dataset, parts, epoch)
            together = min(2 * together, max(1, _VIDEOS_TOGETHER // self._batch_size))


def _batch(videos: Videos, features: dict[str, Tensor], mask: Tensor) -> Batch:
    return Batch(features, mask, torch.from_numpy(videos.labels), videos.ids, videos.indices)


def _trim(labels: Tensor) -> Tensor:
    """Labels (B, L) without the columns that are padding in every row."""
    return labels[:, : int((labels >= 0).sum(dim=1).amax()) if labels.numel() else 0]


def _pick(available: tuple[Modality, ...], names: tuple[str, ...] | None) -> tuple[Modality, ...]:
    by_name = {modality.name: modality for modality in available}
    if names is None:
        return available
    if not names or not set(names) <= set(by_name):
        raise ConfigError("modalities", list(names), f"some of the data's: {', '.join(by_name)}")
    return tuple(by_name[name] for name in names)
