"""Records of a TFRecord file as they are handed on: one by one, by the chunk, and the bad ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KEPT_BYTES = 16 << 20  # of what belongs to no record
SLACK = 16  # bytes behind a chunk that wide reads may touch, never mean


Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Record:
    """One record: its index and byte offset in the (uncompressed) file, and its bytes, which stay valid."""

    index: int
    offset: int
    data: memoryview


@dataclass(frozen=True)
class BadRecord:
    """A record that cannot be used, with as much of its bytes as could be read.

    ``damaged``: its checksum or framing is wrong; otherwise the record is whole and does not fit the schema.
    ``lost_bytes`` > 0: where the framing was lost, so many bytes belong to no record; they may have been several. The
    first ``KEPT_BYTES`` of them are ``data``.
    """

    path: str
    record: int
    offset: int
    problem: str
    data: bytes
    damaged: bool = False
    lost_bytes: int = 0


@dataclass
class Chunk:
    """Neighbouring records in one buffer: record i is ``buffer[starts[i] : starts[i] + lengths[i]]`` of ``paths[i]``.

    ``SLACK`` more bytes follow the last record. The buffer is overwritten when the next chunk is read.
    """

    paths: list[str]
    buffer: NDArray[np.uint8]
    starts: Ints
    lengths: Ints
    indices: Sequence[int]
    offsets: Ints

    def __len__(self) -> int:
        return len(self.paths)

    def only(self, numbers: Sequence[int]) -> "Chunk":
        """These records of the chunk, over the same buffer."""
        kept = np.array(numbers, np.int64)
        paths, indices = [self.paths[number] for number in numbers], [self.indices[number] for number in numbers]
        return Chunk(paths, self.buffer, self.starts[kept], self.lengths[kept], indices, self.offsets[kept])

    def data(self, position: int) -> memoryview:
        """The bytes of record ``position`` of the chunk."""
        start = int(self.starts[position])
        return self.buffer.data[start : start + int(self.lengths[position])]


OnBad = Callable[[BadRecord], None]
