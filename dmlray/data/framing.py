"""A TFRecord file cut into records: a window moves over the source, and every checksum is compared."""

from collections.abc import Iterator

import numpy as np
from crc32c import crc32c

from dmlray.data.header import HEADER, length_crc, mask_crcs, next_header
from dmlray.data.records import KEPT_BYTES, SLACK, BadRecord, Chunk, Ints, OnBad
from dmlray.data.source import Source
from dmlray.errors import DataError

CHUNK_BYTES = 16 << 20
_FOOTER_BYTES = 4
_FRAME = HEADER.size + _FOOTER_BYTES  # bytes of a record that are not its data
_WRONG_DATA = "the checksum of the record's data is wrong"


class Framing:
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
        self.problem: str | None = None  # why no record can be read at ``position``
        self.source_problem: str | None = None  # why nothing can be read behind ``filled``

    def chunks(self, chunk_records: int) -> Iterator[Chunk]:
        """All good records, at most ``chunk_records`` at a time."""
        while True:
            chunk = self._scan(chunk_records)
            if len(chunk):
                yield chunk
            if self.problem is not None:
                self._pass_gap(self.problem)
            if self.is_drained and not self._refill():
                return

    def _scan(self, chunk_records: int) -> Chunk:
        """The good records in the window from ``position`` on, up to what makes reading on impossible."""
        first, start = self.index, self.position
        ends, wrong = self._walk(chunk_records)
        starts = np.concatenate([np.array([start]), ends])[:-1] + HEADER.size
        chunk = Chunk(
            [self.path] * len(ends),
            self.buffer,
            starts,
            ends - starts - _FOOTER_BYTES,
            range(first, self.index),
            self.base + starts - HEADER.size,
        )
        return self._without(chunk, wrong) if len(wrong) else chunk

    def _walk(self, most: int) -> tuple[Ints, Ints]:
        """Where whole records end, and which of them hold other data than their checksum says.

        ``position`` and ``index`` come to stand behind them. One short loop: it is what each record costs.
        """
        ends, crcs = list[int](), list[int]()
        view, position, last = self.buffer.data, self.position, self.filled - HEADER.size
        unpack, crc_of, self.is_drained = HEADER.unpack_from, length_crc, True
        for _ in range(most):
            if position > last:
                break
            length, checksum = unpack(view, position)
            if crc_of(length) != checksum:
                self.problem = _wrong_length(self.base + position)
                break
            end = position + HEADER.size + length
            if end + _FOOTER_BYTES > self.filled:
                break
            crcs.append(crc32c(view[position + HEADER.size : end]))
            position = end + _FOOTER_BYTES
            ends.append(position)
        else:
            self.is_drained = False
        self.position, self.index = position, self.index + len(ends)
        words = np.ndarray((len(self.buffer) - 3,), "<u4", self.buffer, strides=(1,))
        behind = np.array(ends, np.int64)
        return behind, np.flatnonzero(mask_crcs(np.array(crcs, np.uint32)) != words[behind - _FOOTER_BYTES])

    def _without(self, chunk: Chunk, wrong: Ints) -> Chunk:
        """The chunk up to its first wrong record, or without the wrong ones if they can be handed over."""
        if self.on_bad is None:
            number = int(wrong[0])
            self.position, self.index = int(chunk.starts[number]) - HEADER.size, chunk.indices[number]
            self.problem = f"{_WRONG_DATA}: the file is damaged"
            return chunk.only(range(number))
        for number in wrong.tolist():
            index, offset, data = chunk.indices[number], int(chunk.offsets[number]), bytes(chunk.data(number))
            self.on_bad(BadRecord(self.path, index, offset, _WRONG_DATA, data, damaged=True))
        return chunk.only(np.setdiff1d(np.arange(len(chunk)), wrong).tolist())

    def _refill(self) -> bool:
        """Read on, for a whole record if one can be there. False at the end of the file, or behind it a problem."""
        needed = self._needed()
        if self.problem is None and not self._advance(needed):
            if self.source_problem is not None:
                self._hand_over(self.source_problem, self.base + self.position, self._rest(), 0)
                return False
            if self.position == self.filled:
                return False
            self.problem = _cut_short(needed, self.filled - self.position)
        return True

    def _needed(self) -> int:
        """Bytes that the next record takes, as far as known; ``problem`` is set if that cannot be right."""
        left = self.filled - self.position
        if left < HEADER.size:
            return HEADER.size
        length: int = HEADER.unpack_from(self.buffer.data, self.position)[0]
        size = self.source.size
        if size is not None and self.base + self.position + length + _FRAME > size:
            self.problem = _cut_short(length + _FRAME, size - self.base - self.position)
        elif length > self.max_record_bytes:
            self.problem = f"the record is {length} bytes long, more than the allowed {self.max_record_bytes}"
        return length + _FRAME

    def _advance(self, needed: int) -> bool:
        """Move what is left to the front and read behind it; False when nothing came."""
        left = self.filled - self.position
        room = self.room = max(self.room, min(needed, 2 * left + CHUNK_BYTES))  # grows only as far as bytes arrive
        is_kept = self.reuse_buffer and room + SLACK == len(self.buffer)
        target = self.buffer if is_kept else np.empty(room + SLACK, np.uint8)
        target[:left] = self.buffer[self.position : self.filled]
        self.buffer = target
        self.base += self.position
        self.position, self.filled = 0, left
        try:
            got = self.source.fill(target.data[left:room])
        except DataError as error:
            self.source_problem = error.problem
            return False
        self.filled += got
        return got > 0

    def _pass_gap(self, problem: str) -> None:
        """Skip what cannot be a record, up to the next header whose checksum holds, and hand it over as one record."""
        offset, kept, first = self.base + self.position, bytearray(), 1
        if self.on_bad is None:
            raise DataError(self.path, problem, self.index, offset)
        self.problem = None
        while True:
            at = self._next_header(first)
            past = max(self.position + first, self.filled - HEADER.size + 1)  # where a header may have begun
            end = min(past, self.filled) if at is None else self.position + at
            kept += self.buffer.data[self.position : min(end, self.position + KEPT_BYTES - len(kept))]
            self.position, first = end, 0
            if at is not None or not self._advance(HEADER.size):
                break
        if at is None:
            kept += self._rest()
            self.position = self.filled
        self.is_drained = False
        lost = self.base + self.position - offset
        where = "up to the next record" if at is not None else "to the end of the file"
        self._hand_over(f"{problem}; the {lost} bytes {where} are unreadable", offset, bytes(kept), lost)

    def _next_header(self, first: int) -> int | None:
        size = self.source.size
        end = None if size is None else size - self.base - self.position
        return next_header(self.buffer[self.position : self.filled], first, self.max_record_bytes, end)

    def _rest(self) -> bytes:
        return bytes(self.buffer.data[self.position : self.filled])

    def _hand_over(self, problem: str, offset: int, data: bytes, lost: int) -> None:
        if self.on_bad is None:
            raise DataError(self.path, problem, self.index, offset)
        self.on_bad(BadRecord(self.path, self.index, offset, problem, data, damaged=True, lost_bytes=lost))
        self.index += 1


def _cut_short(needed: int, left: int) -> str:
    if left < HEADER.size:
        return f"the file is cut short: {left} of the {HEADER.size} bytes of a record's header are there"
    return f"the file is cut short: the record takes {needed} bytes, {left} are left"


def _wrong_length(offset: int) -> str:
    if offset == 0:
        return "not a TFRecord file, or damaged at its very start: the checksum of the first length is wrong"
    return "the checksum of the record's length is wrong"
