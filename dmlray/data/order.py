"""Which videos come when in an epoch: by position, the same for any number of workers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmlray.data.shuffle import bucketed, epoch_order

WINDOW_BATCHES = 50  # a window's videos are spread over the whole dataset: its batches differ in length, not in kind

Lengths = Callable[[NDArray[np.int64]], NDArray[np.int64]]  # indices -> frames that a batch holds of each


@dataclass(frozen=True)
class Bucketing:
    """Batches of like lengths within each window of ``WINDOW_BATCHES`` batches of the epoch's order."""

    lengths: Lengths
    batch_size: int


class EpochOrder:
    """The order of an epoch's videos; it depends on its arguments alone. Only one window is sorted at a time."""

    def __init__(
        self, videos: int, seed: int, epoch: int, *, shuffle: bool, bucketing: Bucketing | None = None
    ) -> None:
        self._seed, self._epoch, self._bucketing = seed, epoch, bucketing
        self._order = epoch_order(videos, seed, epoch) if shuffle else np.arange(videos)
        self._window = videos if bucketing is None else WINDOW_BATCHES * bucketing.batch_size
        self._sorted: tuple[int, NDArray[np.int64]] | None = None  # number and content of the last window

    def __len__(self) -> int:
        return len(self._order)

    def part(self, first: int, last: int) -> NDArray[np.int64]:
        """Indices of the videos at positions ``first`` to ``last`` - 1, or to the end."""
        if self._bucketing is None:
            return self._order[first:last]
        parts, last = [], min(last, len(self))
        while first < last:
            number, start = divmod(first, self._window)
            parts.append(self._in_window(number, self._bucketing)[start : start + last - first])
            first += len(parts[-1])
        return np.concatenate(parts)

    def _in_window(self, number: int, bucketing: Bucketing) -> NDArray[np.int64]:
        if self._sorted is None or self._sorted[0] != number:
            videos = self._order[number * self._window : (number + 1) * self._window]
            lengths = bucketing.lengths(videos)
            order = bucketed(lengths, bucketing.batch_size, self._seed, self._epoch, number)
            self._sorted = number, videos[order]
        return self._sorted[1]
