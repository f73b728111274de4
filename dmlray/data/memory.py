"""Many small pieces of mapped memory read by one call, wherever they lie: no Python per piece.

Shards are mapped at addresses of their own, so a shuffled batch is a list of addresses. ``torch.index_select`` over all
the memory between the lowest and the highest, seen as overlapping rows one byte apart, copies them in C and without
the interpreter's lock; what lies between the pieces is never touched.
"""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LONG_RUN = 16  # rows; shorter ones cost more one by one


def read_rows(addresses: NDArray[np.int64], out: Tensor) -> None:
    """Copy the bytes at each of ``addresses`` (N,) to a row of ``out`` (N, size) uint8, contiguous.

    All must lie in memory that the caller keeps mapped: nothing here can check that.
    """
    if not len(addresses):
        return
    size = out.shape[1]
    breaks = np.flatnonzero(np.diff(addresses) != size) + 1
    if len(breaks) <= len(addresses) // _LONG_RUN:
        _read_runs(addresses, [0, *breaks.tolist(), len(addresses)], out.numpy())
        return
    lowest = int(addresses.min())
    span = int(addresses.max()) - lowest + size
    rows = torch.from_numpy(np.asarray(_Memory(lowest, span))).as_strided((span - size + 1, size), (1, 1))
    torch.index_select(rows, 0, torch.from_numpy(addresses - lowest), out=out)


def _read_runs(addresses: NDArray[np.int64], bounds: list[int], out: NDArray[np.uint8]) -> None:
    """Rows that lie one after the other, as in an epoch without shuffling, in one piece each: as fast as memory."""
    for first, last in pairwise(bounds):
        target = out[first:last].reshape(-1)
        np.copyto(target, np.asarray(_Memory(int(addresses[first]), len(target))))


def read_values(addresses: NDArray[np.int64], dtype: type[np.generic], count: int) -> NDArray[np.generic]:
    """``count`` neighbouring values at each of ``addresses`` (N,), as (N, count)."""
    out = torch.empty((len(addresses), count * np.dtype(dtype).itemsize), dtype=torch.uint8)
    read_rows(addresses, out)
    return out.numpy().view(dtype)


def read_lists(addresses: NDArray[np.int64], counts: NDArray[np.int64], dtype: type[np.generic]) -> NDArray[np.generic]:
    """``counts[i]`` neighbouring values at ``addresses[i]``, list after list."""
    firsts = np.cumsum(counts) - counts  # where each list begins in the result
    steps = np.arange(counts.sum()) - np.repeat(firsts, counts)
    return read_values(np.repeat(addresses, counts) + steps * np.dtype(dtype).itemsize, dtype, 1).reshape(-1)


class _Memory:
    """Bytes from an address on, for NumPy. Said to be writable, or torch would warn; nobody writes."""

    def __init__(self, address: int, size: int) -> None:
        self.__array_interface__ = {"version": 3, "typestr": "|u1", "shape": (size,), "data": (address, False)}
