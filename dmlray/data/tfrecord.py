"""TFRecord framing: length (uint64), masked CRC32C of the length, data, masked CRC32C of the data, little-endian.

Source: tensorflow/core/lib/io/record_writer.h. Both checksums are always checked. A file that was cut exactly between
two records is whole as far as the framing can tell; the number of records in the manifest shows such a cut.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray
from pyarrow.fs import FileSystem

from dmlray.data.source import Source, open_source
from dmlray.errors import DataError

MAX_RECORD_BYTES = 256 << 20
CHUNK_BYTES = 16 << 20
SLACK = 16  # bytes behind a chunk that wide reads may touch, never mean
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_FRAME = _HEADER.size + _FOOTER.size
_MASK = 0xA282EAD8
_WRONG_DATA = "the checksum of the record's data is wrong"


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
    """

    path: str
    record: int
    offset: int
    problem: str
    data: bytes
    damaged: bool = False


@dataclass
class Chunk:
    """Neighbouring records in one buffer: record i is ``buffer[starts[i] : starts[i] + lengths[i]]`` of ``paths[i]``.

    ``SLACK`` more bytes follow the last record. The buffer is overwritten when the next chunk is read.
    """

    paths: list[str]
    buffer: NDArray[np.uint8]
    starts: list[int]
    lengths: list[int]
    indices: list[int]
    offsets: list[int]

    def data(self, position: int) -> memoryview:
        start = self.starts[position]
        return self.buffer.data[start : start + self.lengths[position]]


OnBad = Callable[[BadRecord], None]


def masked_crc(data: bytes | bytearray | memoryview) -> int:
    """CRC32C, rotated by 15 bits and offset, as TFRecord stores it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


@lru_cache(1 << 14)
def _length_crc(length: int) -> int:
    return masked_crc(length.to_bytes(8, "little"))


def read_records(
    path: str | Path,
    *,
    filesystem: FileSystem | None = None,
    max_record_bytes: int = MAX_RECORD_BYTES,
    on_bad: OnBad | None = None,
) -> Iterator[Record]:
    """Every record of any TFRecord file, gzip or not, its checksums verified.

    ``path`` is local, or a path on ``filesystem`` (``pyarrow.fs``: S3, GCS, HDFS). Memory is bounded by the larger of
    16 MiB and twice the longest record. Without ``on_bad`` the first bad record raises DataError with file, record
    and byte offset; with it, bad records are handed over and reading goes on where the framing allows: behind a wrong
    data checksum it does, behind a wrong length it cannot. Raises MissingInputError when there is no such file.

    >>> for record in read_records("videos.tfrecord"):  # doctest: +SKIP
    ...     print(record.index, decode_record(record.data).features["id"])
    """
    for chunk in read_chunks(
        path, filesystem=filesystem, max_record_bytes=max_record_bytes, on_bad=on_bad, reuse_buffer=False
    ):
        for position, (index, offset) in enumerate(zip(chunk.indices, chunk.offsets, strict=True)):
            yield Record(index, offset, chunk.data(position))


def read_chunks(
    path: str | Path,
    *,
    filesystem: FileSystem | None = None,
    max_record_bytes: int = MAX_RECORD_BYTES,
    chunk_bytes: int = CHUNK_BYTES,
    chunk_records: int = 4096,
    on_bad: OnBad | None = None,
    reuse_buffer: bool = True,
) -> Iterator[Chunk]:
    """Like ``read_records``, many at a time; with ``reuse_buffer`` the bytes live only until the next chunk."""
    with open_source(path, filesystem, _is_header) as source:
        yield from _Framing(str(path), source, max_record_bytes, chunk_bytes, on_bad, reuse_buffer).chunks(
            chunk_records
        )


def _is_header(head: bytes) -> bool:
    return len(head) == _HEADER.size and masked_crc(head[:8]) == _HEADER.unpack(head)[1]


class _Framing:
    """A window over the source, ``base`` bytes into it: ``buffer[position:filled]`` is read and not yet given."""

    def __init__(
        self,
        path: str,
        source: Source,
        max_record_bytes: int,
        chunk_bytes: int,
        on_bad: OnBad | None,
        reuse_buffer: bool,
    ) -> None:
        self.path, self.source, self.on_bad, self.reuse_buffer = path, source, on_bad, reuse_buffer
        self.max_record_bytes = max_record_bytes
        self.room = chunk_bytes if source.size is None else min(chunk_bytes, source.size)
        self.buffer = np.empty(SLACK, np.uint8)
        self.base = self.position = self.filled = self.index = 0
        self.is_drained = False  # the window holds no further whole record
        self.problem: str | None = None  # the framing is lost, or the source

    def chunks(self, chunk_records: int) -> Iterator[Chunk]:
        while True:
            chunk = self._scan(chunk_records)
            if chunk.starts:
                yield chunk
            if self.problem is not None:
                self._lose_framing(self.problem)
                return
            if self.is_drained and not self._refill():
                return

    def _scan(self, chunk_records: int) -> Chunk:
        """The good records in the window from ``position`` on, up to what makes reading on impossible."""
        first = self.index
        starts, lengths = self._walk(chunk_records)
        kept: Sequence[int] = range(len(starts))
        wrong = self._wrong_data(starts, lengths)
        if wrong and self.on_bad is None:
            kept = range(wrong[0])
            self.position, self.index = starts[wrong[0]] - _HEADER.size, first + wrong[0]
            self.problem = f"{_WRONG_DATA}: the file is damaged"
        elif wrong and self.on_bad is not None:
            for number in wrong:
                start, end = starts[number], starts[number] + lengths[number]
                offset, data = self.base + start - _HEADER.size, bytes(self.buffer.data[start:end])
                self.on_bad(BadRecord(self.path, first + number, offset, _WRONG_DATA, data, damaged=True))
            kept = [number for number in kept if number not in wrong]
        return Chunk(
            [self.path] * len(kept),
            self.buffer,
            [starts[number] for number in kept],
            [lengths[number] for number in kept],
            [first + number for number in kept],
            [self.base + starts[number] - _HEADER.size for number in kept],
        )

    def _walk(self, most: int) -> tuple[list[int], list[int]]:
        """Where the data of whole records start, and their lengths; ``position`` and ``index`` come to stand behind."""
        starts, lengths, lost = list[int](), list[int](), False
        view, position, filled = self.buffer.data, self.position, self.filled
        while len(starts) < most and position + _HEADER.size <= filled:
            length, length_crc = _HEADER.unpack_from(view, position)
            lost = _length_crc(length) != length_crc
            if lost or position + length + _FRAME > filled:
                break
            starts.append(position + _HEADER.size)
            lengths.append(length)
            position += length + _FRAME
        self.position, self.index = position, self.index + len(starts)
        self.is_drained = len(starts) < most
        if lost:
            self.problem = self._wrong_length()
        return starts, lengths

    def _wrong_data(self, starts: list[int], lengths: list[int]) -> list[int]:
        """Which of the records have another checksum than stands behind them."""
        view = self.buffer.data
        found = [crc32c(view[start : start + length]) for start, length in zip(starts, lengths, strict=True)]
        crc = np.array(found, np.uint32)
        masked = (crc >> 15 | crc << 17) + np.uint32(_MASK)  # uint32 wraps around, as it must
        words = np.ndarray((len(self.buffer) - 3,), "<u4", self.buffer, strides=(1,))
        ends = np.array(starts, np.int64) + np.array(lengths, np.int64)
        return [int(number) for number in np.flatnonzero(masked != words[ends])]

    def _refill(self) -> bool:
        """Move what is left to the front and read on. False at the end of the file, with ``problem`` if it is cut."""
        left = self.filled - self.position
        needed = self._needed()
        if needed is None:
            return True  # the next scan ends with the problem
        room = self.room = max(self.room, min(needed, 2 * left + CHUNK_BYTES))  # grows only as far as bytes arrive
        target = (
            self.buffer if self.reuse_buffer and room + SLACK == len(self.buffer) else np.empty(room + SLACK, np.uint8)
        )
        target[:left] = self.buffer[self.position : self.filled]
        self.buffer = target
        self.base += self.position
        self.position, self.filled = 0, left
        try:
            got = self.source.fill(target.data[left:room])
        except DataError as error:
            self.problem = error.problem
            return True
        self.filled += got
        if got == 0 and left:
            self.problem = self._cut_short(needed, left)
        return got > 0 or left > 0

    def _needed(self) -> int | None:
        """Bytes that the next record takes, as far as known; None, with ``problem`` set, if it cannot be right."""
        left = self.filled - self.position
        if left < _HEADER.size:
            return _HEADER.size
        length = _HEADER.unpack_from(self.buffer.data, self.position)[0]
        needed = length + _FRAME
        size = self.source.size
        if size is not None and self.base + self.position + needed > size:
            self.problem = self._cut_short(needed, size - self.base - self.position)
        elif length > self.max_record_bytes:
            self.problem = f"the record is {length} bytes long, more than the allowed {self.max_record_bytes}"
        return None if self.problem else needed

    def _cut_short(self, needed: int, left: int) -> str:
        if left < _HEADER.size:
            return f"the file is cut short: {left} of the {_HEADER.size} bytes of a record's header are there"
        return f"the file is cut short: the record takes {needed} bytes, {left} are left"

    def _wrong_length(self) -> str:
        if self.index == 0 and self.base + self.position == 0:
            return "not a TFRecord file, or damaged at its very start: the checksum of the first length is wrong"
        return "the checksum of the record's length is wrong: the file is damaged from here on"

    def _lose_framing(self, problem: str) -> None:
        offset = self.base + self.position
        if self.on_bad is None:
            raise DataError(self.path, problem, self.index, offset)
        rest = bytes(self.buffer.data[self.position : self.filled])
        self.on_bad(BadRecord(self.path, self.index, offset, problem, rest, damaged=True))
