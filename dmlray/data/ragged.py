"""Lists of different lengths in two arrays, as Arrow keeps them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Ragged(NamedTuple):
    """List ``n`` is ``values[offsets[n]:offsets[n + 1]]``: offsets (N + 1,) int64 from 0, values int64."""

    offsets: NDArray[np.int64]
    values: NDArray[np.int64]

    def list_of(self, index: int) -> NDArray[np.int64]:
        """The values of list ``index``, a view."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def problem(self, lists: int, below: int) -> str | None:
        """What is wrong if this is to hold ``lists`` lists of values in [0, below); None when nothing is."""
        if len(self.offsets) != lists + 1:
            return f"holds {len(self.offsets) - 1} lists, needs {lists}"
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.values) or (np.diff(self.offsets) < 0).any():
            return "has offsets that do not fit its values"
        if len(self.values) and (self.values.min() < 0 or self.values.max() >= below):
            return f"has values outside 0 to {below - 1}"
        return None


def concatenate(parts: Sequence[Ragged]) -> Ragged:
    """The lists of all parts, in order."""
    ends = np.cumsum([0, *(part.offsets[-1] for part in parts)])
    offsets = [part.offsets[:-1] + end for part, end in zip(parts, ends, strict=False)]
    values = [part.values for part in parts]
    return Ragged(
        np.concatenate([*offsets, ends[-1:]]).astype(np.int64), np.concatenate([*values, np.empty(0, np.int64)])
    )
