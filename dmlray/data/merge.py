"""Blocks of many tiny files joined into blocks worth a record batch."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dmlray.data.reader import VideoBlock


def merge(blocks: Iterable[VideoBlock], videos: int) -> Iterator[VideoBlock]:
    """Neighbours joined until they hold at least ``videos``; the last may hold fewer."""
    waiting: list[VideoBlock] = []
    held = 0
    for block in blocks:
        waiting.append(block)
        held += len(block)
        if held >= videos:
            yield join(waiting)
            waiting, held = [], 0
    if waiting:
        yield join(waiting)


def join(blocks: Sequence[VideoBlock]) -> VideoBlock:
    """The videos of all blocks in order; a single block comes back as it is."""
    if len(blocks) == 1:
        return blocks[0]
    frame_offsets = [block.frame_offsets for block in blocks if block.frame_offsets is not None]
    return VideoBlock(
        ids=[video_id for block in blocks for video_id in block.ids],
        label_offsets=_join_offsets([block.label_offsets for block in blocks]),
        label_values=np.concatenate([block.label_values for block in blocks]),
        features={name: np.concatenate([block.features[name] for block in blocks]) for name in blocks[0].features},
        frame_offsets=_join_offsets(frame_offsets) if frame_offsets else None,
    )


def _join_offsets(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    counts = np.concatenate([np.diff(part) for part in parts])
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
