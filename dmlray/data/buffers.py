"""Memory for batches that is used again: a fresh 44 MB buffer per batch costs 25 % more CPU in page faults."""

import weakref
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Buffers:
    """Hands out arrays, and their memory again once nobody holds them (or a tensor over them) any more.

    A loop that drops each batch for the next lives in two buffers; one that keeps every batch gets as many as it keeps.
    """

    def __init__(self) -> None:
        self._memory: list[NDArray[np.uint8]] = []
        self._lent: list[weakref.ref[NDArray[np.generic]]] = []

    def take(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[np.generic]:
        """An array with arbitrary content, contiguous."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        slot = self._free_slot()
        if len(self._memory[slot]) < size:
            self._memory[slot] = np.empty(size, np.uint8)
        array = self._memory[slot][:size].view(dtype).reshape(shape)
        self._lent[slot] = weakref.ref(array)
        return array

    def _free_slot(self) -> int:
        for slot, lent in enumerate(self._lent):
            if lent() is None:
                return slot
        self._memory.append(np.empty(0, np.uint8))
        self._lent.append(weakref.ref(np.empty(0)))  # dead at once: free
        return len(self._lent) - 1
