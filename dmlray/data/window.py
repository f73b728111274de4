"""Videos that pass by, mixed in a window: as random as its size allows, in memory that does not grow."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dmlray.data.blocks import Block, address_table, as_block
from dmlray.data.schema import Schema


class Window:
    """The videos of some record batches in an order of their own, numbered from ``first``: a store for `data.gather`.

    ``order`` (N,) are rows of the batches, one batch after the other.
    """

    def __init__(self, batches: list[pa.RecordBatch], schema: Schema, first: int, order: NDArray[np.int64]) -> None:
        self._batches, self._schema, self._first, self._order = batches, schema, first, order
        self._blocks = [as_block("a stream", batch, schema) for batch in batches]
        self._starts = np.cumsum([0, *map(len, batches)])
        self._addresses = address_table(schema, len(batches))
        for number, block in enumerate(self._blocks):
            self._addresses[number] = block.addresses()

    @property
    def schema(self) -> Schema:
        """Modalities, widths, classes."""
        return self._schema

    def places(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.void]]:
        """See `data.gather.VideoStore`."""
        rows = self._order[indices - self._first]
        numbers = np.searchsorted(self._starts, rows, side="right") - 1
        return numbers, rows - self._starts[numbers], self._addresses[numbers]

    def block(self, number: int) -> Block:
        """See `data.gather.VideoStore`."""
        return self._blocks[number]

    def rest(self, count: int) -> list[pa.RecordBatch]:
        """The last ``count`` videos, copied out of the batches."""
        rows = np.sort(self._order[len(self._order) - count :])
        cuts = np.searchsorted(rows, self._starts)
        return [
            batch.take(pa.array(rows[cut:end] - start))
            for batch, start, cut, end in zip(self._batches, self._starts, cuts, cuts[1:], strict=False)
            if end > cut
        ]


@dataclass(frozen=True)
class Mixed:
    """A full window, of which the first ``ready`` videos, ``first`` and on, are to be used now."""

    window: Window
    first: int
    ready: int


def mixed(
    batches: Iterator[pa.RecordBatch], schema: Schema, size: int, step: int, random: np.random.Generator
) -> Iterator[Mixed]:
    """Each video of ``batches`` once, ``size`` at a time in random order.

    Half of a full window is used, a multiple of ``step`` videos, the other half mixed with what comes next, so that a
    video can end up any distance behind where it came from. What it holds are copies; ``size`` >= 2 * ``step``.
    """
    assert size >= 2 * step
    held: list[pa.RecordBatch] = []
    first, source = 0, _Pieces(batches)
    while True:
        held += source.take(size - sum(map(len, held)))
        count = sum(map(len, held))
        if not count:
            return
        window = Window(held, schema, first, random.permutation(count))
        is_last = count < size
        ready = count if is_last else size // 2 // step * step
        yield Mixed(window, first, ready)
        held, first = window.rest(count - ready), first + ready
        if is_last:
            return


class _Pieces:
    """Cuts record batches where they are wanted, and copies them, so that what they are views of can be let go."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._ahead: pa.RecordBatch | None = None

    def take(self, count: int) -> list[pa.RecordBatch]:
        """The next ``count`` videos, fewer only at the end."""
        taken = []
        while count:
            batch = self._ahead if self._ahead is not None else next(self._batches, None)
            if batch is None:
                break
            piece = batch.slice(0, count)
            self._ahead = batch.slice(count) if len(batch) > count else None
            count -= len(piece)
            if len(piece):
                taken.append(pa.ipc.read_record_batch(piece.serialize(), piece.schema))
        return taken
