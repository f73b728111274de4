"""The protobuf wire read across records at once: every step is one NumPy operation over all N records of a chunk.

Only the plain shape is understood (one key then one value per map entry, packed ints, nothing unknown); what is not of
that shape is marked and left to ``example``, so a doubt costs time, never a wrong value. Positions are in bytes of the
chunk's buffer, behind which ``tfrecord.SLACK`` bytes may be read.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Bytes = NDArray[np.uint8]

BYTES_LIST, FLOAT_LIST, INT64_LIST = 0x0A, 0x12, 0x1A
_FIRST, _SECOND = 0x0A, 0x12  # tags of length-delimited fields 1 and 2
_MAX_ENTRIES = 32
_MAX_VARINT = 4  # bytes
_WORD = 8
_MAX_SHORT = 1 << 12  # bytes of an id, or of a video's labels
MAX_INT = (1 << 7 * _MAX_VARINT) - 1  # the largest that is read here


class Regions(NamedTuple):
    """``start`` and ``end`` (N,) of a piece of each record, and where it is known to be right."""

    start: Ints
    end: Ints
    ok: Flags


class Window:
    """A chunk's buffer as bytes, and as an overlapping little-endian uint32 at each byte."""

    def __init__(self, buffer: Bytes) -> None:
        self.bytes = buffer
        self.words: NDArray[np.uint32] = np.ndarray((len(buffer) - 3,), "<u4", buffer, strides=(1,))

    def varints(self, position: Ints) -> tuple[Ints, Ints, Flags]:
        """Values of up to 28 bits, where they end, and which were no longer than that."""
        words = self.words[position].astype(np.int64)
        more = words & 0x80 != 0
        if not more.any():
            return words & 0x7F, position + 1, ~more
        value, size = words & 0x7F, np.ones_like(words)
        for step in range(1, _MAX_VARINT):
            value |= np.where(more, (words >> 8 * step & 0x7F) << 7 * step, 0)
            size += more
            more &= words >> 8 * step & 0x80 != 0
            if not more.any():
                break
        return value, position + size, ~more

    def nested(self, region: Regions, tag: int) -> Regions:
        """The content of the one length-delimited field with ``tag`` that fills ``region`` exactly."""
        length, start, ok = self.varints(region.start + 1)
        ok &= region.ok & (self.bytes[region.start] == tag) & (start + length == region.end)
        return self.safe(Regions(start, region.end, ok))

    def safe(self, region: Regions) -> Regions:
        """Positions that are not ok point at 0, so that they can be read without harm."""
        return Regions(np.where(region.ok, region.start, 0), np.where(region.ok, region.end, 0), region.ok)

    def feature(self, value: Regions, tag: int) -> Regions:
        """Content of the single (or packed) value of a Feature of list type ``tag``."""
        return self.nested(self.nested(value, tag), _FIRST)

    def top(self, record: Regions) -> tuple[Regions, Regions]:
        """Fields 1 (features) and 2 (feature lists, possibly absent) of whole records."""
        length, start, ok = self.varints(record.start + 1)
        end = start + length
        ok &= record.ok & (self.bytes[record.start] == _FIRST) & (end <= record.end)
        first = self.safe(Regions(start, end, ok))
        second = self.nested(Regions(first.end, record.end, ok & (end < record.end)), _SECOND)
        absent = ok & (end == record.end)
        return first, Regions(second.start, second.end, second.ok | absent)

    def entries(self, message: Regions, names: list[str]) -> list[Regions]:
        """Where the value of each of the ``names`` lies in a ``map<string, message>``.

        Not ok where a name is missing or doubled, or the map is not of the plain shape.
        """
        keys = [np.frombuffer(name.encode(), np.uint8) for name in names]
        starts = np.zeros((len(names), len(message.start)), np.int64)
        ends = np.zeros_like(starts)
        ok, position = message.ok.copy(), message.start.copy()
        for _ in range(_MAX_ENTRIES):
            lanes = np.flatnonzero(ok & (position < message.end))
            if not len(lanes):
                break
            key, value, good = self._entry(position[lanes], message.end[lanes])
            for number, name in enumerate(keys):
                hit = good & self._equal(key, name)
                good &= ~(hit & (starts[number, lanes] > 0))
                starts[number, lanes[hit]], ends[number, lanes[hit]] = value.start[hit], value.end[hit]
            ok[lanes] &= good
            position[lanes] = value.end
        ok &= position == message.end
        return [self.safe(Regions(start, end, ok & (start > 0))) for start, end in zip(starts, ends, strict=True)]

    def _entry(self, position: Ints, limit: Ints) -> tuple[Regions, Regions, Flags]:
        """Key and value of the map entries at ``position``, which must end by ``limit``."""
        length, start, ok = self.varints(position + 1)
        end = start + length
        ok &= (self.bytes[position] == _FIRST) & (end <= limit)
        entry = self.safe(Regions(start, end, ok))
        length, start, ok = self.varints(entry.start + 1)
        ok &= entry.ok & (self.bytes[entry.start] == _FIRST) & (start + length < entry.end)
        key = self.safe(Regions(start, start + length, ok))
        value = self.nested(Regions(key.end, entry.end, ok), _SECOND)
        return key, value, value.ok

    def _equal(self, key: Regions, name: Bytes) -> Flags:
        same: Flags = key.ok & (key.end - key.start == len(name))
        lanes = np.flatnonzero(same)
        same[lanes] = (self.bytes[key.start[lanes, None] + np.arange(len(name))] == name).all(axis=1)
        return same

    def packed_ints(self, region: Regions) -> tuple[Ints, Ints, Flags]:
        """Packed varints of up to 28 bits: all values in order (M,), how many per record (N,), which records are ok.

        A record that is not ok contributes no values.
        """
        region = self.short(region)
        lengths = region.end - region.start
        lane = np.repeat(np.arange(len(lengths)), lengths)
        data = self.joined(region).astype(np.int64)
        last = data < 0x80
        ends = np.flatnonzero(last)
        starts = np.concatenate([np.zeros(1, np.int64), ends + 1])[:-1]
        size = ends - starts + 1
        values = np.zeros(len(ends), np.int64)
        for step in range(_MAX_VARINT):
            here = np.flatnonzero(size > step)
            values[here] |= (data[starts[here] + step] & 0x7F) << 7 * step
        ok = region.ok & (
            (lengths == 0) | (self.bytes[region.end - 1] < 0x80)
        )  # a cut value would join the next record
        wrong = (size > _MAX_VARINT) | (lane[starts] != lane[ends])
        ok[lane[ends[wrong]]] = False
        keep = ok[lane[ends]]
        return values[keep], np.bincount(lane[ends][keep], minlength=len(lengths)), ok

    def short(self, region: Regions) -> Regions:
        """Regions that are too long for what they hold are not read across records: it takes many times their size."""
        return self.safe(Regions(region.start, region.end, region.ok & (region.end - region.start <= _MAX_SHORT)))

    def joined(self, region: Regions) -> Bytes:
        """The bytes of all regions side by side, copied."""
        lengths = region.end - region.start
        shift = region.start - (np.cumsum(lengths) - lengths)  # from a place in the result to one in the buffer
        joined: Bytes = self.bytes[np.arange(lengths.sum()) + np.repeat(shift, lengths)]
        return joined

    def floats(self, start: Ints, width: int) -> NDArray[np.float32]:
        """A copy of ``width`` float32 from each ``start`` (N,): (N, width)."""
        if not len(start):
            return np.empty((0, width), np.float32)
        size = 4 * width
        rows = np.ndarray((len(self.bytes) - size + 1,), f"V{size}", self.bytes, strides=(1,))  # one at each byte
        return rows[start].view("<f4").reshape(len(start), width)

    def frames(self, start: int, end: int, width: int) -> Bytes | None:
        """A FeatureList of one string of ``width`` bytes per frame as a view (T, width); None if it is not that."""
        size = len(frame_header(width))
        count, rest = divmod(end - start, size + width)
        if rest or not self._all_headers(start, count, width):
            return None
        return self.bytes[start:end].reshape(count, size + width)[:, size:]

    def _all_headers(self, start: int, count: int, width: int) -> bool:
        """Whether each of ``count`` frames from ``start`` on begins as it must, compared eight bytes at a time."""
        header = frame_header(width)
        size = len(header)
        if size < _WORD:
            rows = self.bytes[start : start + count * (size + width)].reshape(count, size + width)
            return bool((rows[:, :size] == header).all())
        for offset in {*range(0, size - _WORD, _WORD), size - _WORD}:
            words = np.ndarray((count,), "<u8", self.bytes, start + offset, (size + width,))
            if words.tobytes() != header[offset : offset + _WORD].tobytes() * count:
                return False
        return True


@cache
def frame_header(width: int) -> Bytes:
    """The bytes before a frame's ``width`` bytes: tag and length of its Feature, its BytesList and its value."""
    header = b""
    for _ in range(3):
        length, digits = width + len(header), bytearray()
        while length >= 0x80:
            digits.append(length & 0x7F | 0x80)
            length >>= 7
        header = bytes([_FIRST, *digits, length]) + header
    return np.frombuffer(header, np.uint8)
