"""Memory for batches that is used again: a fresh 44 MB buffer per batch costs 25 % more CPU in page faults."""

import weakref
from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Buffers:
    """Hands out tensors, and their memory again once nobody holds them, or a view of them, any more.

    A loop that drops each batch for the next lives in two buffers; one that keeps every batch gets as many as it keeps.
    ``pinned`` memory (page-locked, for copies to a GPU beside its work) comes from torch's own cache, which also waits
    for copies under way before it hands memory out again.
    """

    def __init__(self, pinned: bool = False) -> None:
        self._pinned = pinned
        self._memory: list[NDArray[np.uint8]] = []
        self._lent: list[weakref.ref[NDArray[np.uint8]]] = []

    def take(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor with arbitrary content, contiguous."""
        if self._pinned:
            return torch.empty(*shape, dtype=dtype, pin_memory=True)
        size = prod(shape) * dtype.itemsize
        slot = self._free_slot()
        if len(self._memory[slot]) < size:
            self._memory[slot] = np.empty(size, np.uint8)
        view = self._memory[slot][:size]  # the tensor's storage holds it
        self._lent[slot] = weakref.ref(view)
        return torch.from_numpy(view).view(dtype).view(*shape)

    def _free_slot(self) -> int:
        for slot, lent in enumerate(self._lent):
            if lent() is None:
                return slot
        self._memory.append(np.empty(0, np.uint8))
        self._lent.append(weakref.ref(np.empty(0, np.uint8)))  # dead at once: free
        return len(self._lent) - 1
