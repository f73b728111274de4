"""Which frames of each video a model sees: pure choices from lengths and random draws.

Whatever the selection, a video gives min(count, available) frames, in the order of time and none twice, where
available = min(length, max_frames): the official reader cuts videos at 300 frames before anything else.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmlray.config import FramesConfig

Draw = Callable[[int], NDArray[np.float64]]  # columns -> (B, columns) uniform in [0, 1), a row belongs to its video


@dataclass(frozen=True)
class FrameChoice:
    """Frame ``positions[b, :counts[b]]`` of video b, ascending; 0 beyond. positions (B, T), T the longest count.

    ``is_run``: every video's frames are neighbours, so that ``positions[b, 0]`` and ``counts[b]`` say it all.
    """

    counts: NDArray[np.int64]
    positions: NDArray[np.int64]
    is_run: bool


def choose_frames(config: FramesConfig, lengths: NDArray[np.int64], max_frames: int, draw: Draw) -> FrameChoice:
    """Choose frames of B videos with ``lengths`` (B,) frames each; ``draw`` is asked only by random selections."""
    available = np.minimum(lengths, max_frames)
    counts = chosen_counts(config, lengths, max_frames)
    steps = np.arange(counts.max(initial=1))  # (T,)
    positions = _SELECTIONS[config.select](available[:, None], counts[:, None], steps, draw)  # (B, T)
    positions = np.where(steps < counts[:, None], positions, 0)
    return FrameChoice(counts, positions, is_run=config.select in {"all", "first", "window"})


def chosen_counts(config: FramesConfig, lengths: NDArray[np.int64], max_frames: int) -> NDArray[np.int64]:
    """How many frames will be chosen of videos with ``lengths`` (B,) frames."""
    return np.minimum(lengths, min(max_frames, config.count or max_frames))


# Each selection takes available (B, 1), counts (B, 1), steps (T,) and gives positions (B, T), any value beyond counts.
def _first(
    available: NDArray[np.int64], counts: NDArray[np.int64], steps: NDArray[np.int64], draw: Draw
) -> NDArray[np.int64]:
    return np.broadcast_to(steps, (len(counts), len(steps)))


def _uniform(
    available: NDArray[np.int64], counts: NDArray[np.int64], steps: NDArray[np.int64], draw: Draw
) -> NDArray[np.int64]:
    return (2 * steps + 1) * available // (2 * counts)  # the middle frame of each of `counts` equal parts


def _random(
    available: NDArray[np.int64], counts: NDArray[np.int64], steps: NDArray[np.int64], draw: Draw
) -> NDArray[np.int64]:
    longest = int(available.max(initial=1))
    keys = np.where(np.arange(longest) < available, draw(longest), np.inf)
    chosen = keys.argsort(axis=1, kind="stable")[:, : len(steps)]
    return np.sort(np.where(steps < counts, chosen, longest), axis=1)


def _window(
    available: NDArray[np.int64], counts: NDArray[np.int64], steps: NDArray[np.int64], draw: Draw
) -> NDArray[np.int64]:
    return (draw(1) * (available - counts + 1)).astype(np.int64) + steps


def _segments(
    available: NDArray[np.int64], counts: NDArray[np.int64], steps: NDArray[np.int64], draw: Draw
) -> NDArray[np.int64]:
    starts, ends = steps * available // counts, (steps + 1) * available // counts
    return starts + (draw(len(steps)) * (ends - starts)).astype(np.int64)


_SELECTIONS = {
    "all": _first,
    "first": _first,
    "uniform": _uniform,
    "random": _random,
    "window": _window,
    "segments": _segments,
}
