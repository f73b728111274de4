"""Which videos come when in an epoch: by position, the same for any number of workers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmlray.data.shuffle import bucketed, shuffled

WINDOW_BATCHES = 50  # a window's videos are spread over the whole dataset: its batches differ in length, not in kind
_WINDOW_VIDEOS = 8192  # worked out at once without bucketing: for speed only

Lengths = Callable[[NDArray[np.int64]], NDArray[np.int64]]  # indices -> frames that a batch holds of each


@dataclass(frozen=True)
class Bucketing:
    """Batches of like lengths within each window of ``WINDOW_BATCHES`` batches of the epoch's order."""

    lengths: Lengths
    batch_size: int


class EpochOrder:
    """The order of an epoch's videos; it depends on its arguments alone. Only one window is ever worked out."""

    def __init__(
        self, videos: int, seed: int, epoch: int, *, shuffle: bool, bucketing: Bucketing | None = None
    ) -> None:
        self._videos, self._seed, self._epoch = videos, seed, epoch
        self._shuffle, self._bucketing = shuffle, bucketing
        self._window = _WINDOW_VIDEOS if bucketing is None else WINDOW_BATCHES * bucketing.batch_size
        self._last: tuple[int, NDArray[np.int64]] | None = None  # number and content of the last window

    def part(self, first: int, last: int) -> NDArray[np.int64]:
        """Indices of the videos at positions ``first`` to ``last`` - 1, or to the end."""
        parts, last = [np.empty(0, np.int64)], min(last, self._videos)
        while first < last:
            number, start = divmod(first, self._window)
            parts.append(self._in_window(number)[start : start + last - first])
            first += len(parts[-1])
        return np.concatenate(parts)

    def _in_window(self, number: int) -> NDArray[np.int64]:
        if self._last is None or self._last[0] != number:
            videos = np.arange(number * self._window, min((number + 1) * self._window, self._videos))
            if self._shuffle:
                videos = shuffled(videos, self._videos, self._seed, self._epoch)
            if self._bucketing is not None:
                lengths = self._bucketing.lengths(videos)
                videos = videos[bucketed(lengths, self._bucketing.batch_size, self._seed, self._epoch, number)]
            self._last = number, videos
        return self._last[1]
