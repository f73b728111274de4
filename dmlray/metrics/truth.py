"""Which (video, class) pairs are true, in one sorted form whatever form the labels come in."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Ints = NDArray[np.integer]


@dataclass(frozen=True)
class Truth:
    """True pairs as sorted, distinct keys ``video * classes + class`` (int64): a label given twice counts once."""

    keys: NDArray[np.int64]
    videos: int
    classes: int

    @classmethod
    def from_ragged(cls, offsets: Ints, values: Ints, classes: int) -> "Truth":
        """Labels of video i are ``values[offsets[i]:offsets[i + 1]]``. Raises ValueError for one outside [0, C)."""
        if values.size and not 0 <= int(values.min()) <= int(values.max()) < classes:
            raise ValueError(f"labels must lie in [0, {classes}), found {values.min()} to {values.max()}")
        videos = len(offsets) - 1
        rows = np.repeat(np.arange(videos, dtype=np.int64), np.diff(offsets))
        return cls(np.unique(rows * classes + values), videos, classes)

    @classmethod
    def from_padded(cls, labels: Tensor | Ints, classes: int) -> "Truth":
        """labels (N, L): class indices, padded with -1. Raises ValueError for one outside [0, C)."""
        table = labels.cpu().numpy() if isinstance(labels, Tensor) else labels
        real = table != -1
        return cls.from_ragged(np.append(0, real.sum(axis=1).cumsum()), table[real], classes)

    @classmethod
    def from_dense(cls, labels: NDArray[np.bool_]) -> "Truth":
        """labels (N, C): True where the class is one of the video's."""
        videos, classes = labels.shape
        return cls(np.flatnonzero(labels), videos, classes)

    def hits(self, labels: Ints) -> NDArray[np.bool_]:
        """True where labels (N, K), row i of video i, names a true class: (N, K)."""
        wanted = np.arange(self.videos, dtype=np.int64)[:, None] * self.classes + labels
        if not self.keys.size:
            return np.zeros(wanted.shape, dtype=np.bool_)
        places = np.searchsorted(self.keys, wanted).clip(max=self.keys.size - 1)
        found: NDArray[np.bool_] = self.keys[places] == wanted
        return found

    def per_video(self) -> NDArray[np.int64]:
        """Number of true classes of each video: (N,)."""
        return np.bincount(self.keys // self.classes, minlength=self.videos)

    def per_class(self) -> NDArray[np.int64]:
        """Number of videos of each class: (C,)."""
        return np.bincount(self.keys % self.classes, minlength=self.classes)
