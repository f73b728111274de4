"""Videos read out of the map together: ids, labels and lengths of several batches at once, frames batch by batch."""

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmlray.data.blocks import Block
from dmlray.data.frames import FrameChoice
from dmlray.data.ids import Ids
from dmlray.data.memory import read_lists, read_rows, read_values
from dmlray.data.schema import Modality, Schema
from dmlray.data.shards import frame_bytes
from dmlray.data.text import texts


class VideoStore(Protocol):
    """Blocks of videos in memory, such as `data.dataset.Dataset`."""

    @property
    def schema(self) -> Schema:
        """Modalities, widths, classes."""

    def places(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.void]]:
        """Of each video the number of its block, its row there, and the block's addresses (a BlockAddresses)."""

    def block(self, number: int) -> Block:
        """Block ``number`` of the store."""


@dataclass(frozen=True)
class Videos:
    """B videos of a store: ``lengths`` (B,) are their numbers of frames, 1 for video-level."""

    indices: NDArray[np.int64]
    ids: Ids
    labels: NDArray[np.int64]  # (B, L), padded with -1 to any width
    label_counts: NDArray[np.int64]  # (B,)
    lengths: NDArray[np.int64]
    _store: VideoStore
    _blocks: NDArray[np.int64]
    _starts: NDArray[np.int64]  # first frame in the block
    _features: NDArray[np.int64]  # (B, modalities): address of the first frame

    @classmethod
    def read(cls, store: VideoStore, indices: NDArray[np.int64]) -> "Videos":
        """All but the frames. Raises IndexError outside the store, StorageError on a damaged shard."""
        blocks, rows, at = store.places(indices)
        if store.schema.level == "video":
            starts, lengths = rows, np.ones(len(rows), np.int64)
        else:
            starts, lengths = _list_bounds(at["frame_offsets"], rows)
        sizes = np.array([frame_bytes(modality) for modality in store.schema.modalities])
        features = at["features"] + starts[:, None] * sizes
        ids = Ids(partial(_ids, store, at, rows), len(rows))
        return cls(indices, ids, *_labels(at, rows), lengths, store, blocks, starts, features)

    def part(self, first: int, last: int) -> "Videos":
        """Videos ``first`` to ``last`` - 1 of these."""
        cut = slice(first, last)
        return Videos(
            self.indices[cut],
            self.ids[cut],
            self.labels[cut, : self.label_counts[cut].max(initial=0)],
            self.label_counts[cut],
            self.lengths[cut],
            self._store,
            self._blocks[cut],
            self._starts[cut],
            self._features[cut],
        )

    def copy_frames(self, choice: FrameChoice, modality: Modality, out: Tensor) -> None:
        """Write the chosen frames to ``out`` (B, T, D), contiguous, and 0 beyond."""
        if choice.is_run and out.shape[1] > 1:
            self._copy_runs(choice, modality, out.numpy())
            return
        frames = self._addresses(modality)[:, None] + choice.positions * frame_bytes(modality)  # (B, T)
        read_rows(frames.reshape(-1), out.view(-1, modality.width).view(torch.uint8))
        if out.shape[1] > 1:
            out.numpy()[np.arange(out.shape[1]) >= choice.counts[:, None]] = 0

    def copy_vectors(self, modality: Modality, out: Tensor) -> None:
        """Write the vectors of a video-level store to ``out`` (B, 1, D), contiguous."""
        read_rows(self._addresses(modality), out.view(-1, modality.width).view(torch.uint8))

    def _addresses(self, modality: Modality) -> NDArray[np.int64]:
        return self._features[:, self._store.schema.modalities.index(modality)]

    def _copy_runs(self, choice: FrameChoice, modality: Modality, out: NDArray[np.generic]) -> None:
        """Neighbouring frames in one piece per video: as fast as memory."""
        blocks, firsts = self._blocks.tolist(), (self._starts + choice.positions[:, 0]).tolist()
        for video, (block, first, count) in enumerate(zip(blocks, firsts, choice.counts.tolist(), strict=True)):
            out[video, :count] = self._store.block(block).features[modality.name][first : first + count]
            out[video, count:] = 0


def frame_counts(store: VideoStore, indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers of frames of the videos ``indices`` (B,), and nothing else of them."""
    _, rows, at = store.places(indices)
    if store.schema.level == "video":
        return np.ones(len(rows), np.int64)
    return _list_bounds(at["frame_offsets"], rows)[1]


def _ids(store: VideoStore, at: NDArray[np.void], rows: NDArray[np.int64]) -> list[str]:
    """``store`` is not looked at, but the addresses hold as long as it lives."""
    starts, lengths = _list_bounds(at["id_offsets"], rows)
    return texts(read_lists(at["id_bytes"] + starts, lengths, np.uint8).tobytes(), lengths)


def _labels(at: NDArray[np.void], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels (B, L), padded with -1, and how many of them are real (B,)."""
    starts, counts = _list_bounds(at["label_offsets"], rows)
    labels = np.full((len(rows), counts.max(initial=0)), -1, np.int64)
    values = read_lists(at["label_values"] + 8 * starts, counts, np.int64)
    labels[np.arange(labels.shape[1]) < counts[:, None]] = values
    return labels, counts


def _list_bounds(offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the list of each row begins among its block's values, and how long it is; ``offsets`` are addresses."""
    bounds = read_values(offsets + 4 * rows, np.int32, 2).astype(np.int64)
    return bounds[:, 0], bounds[:, 1] - bounds[:, 0]
