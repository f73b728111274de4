"""Example and SequenceExample from the protobuf wire, without generated code.

Sources: protobuf.dev/programming-guides/encoding and tensorflow/core/example/{example,feature}.proto. An Example is a
SequenceExample without feature lists, so one decoder reads both, and each as the other. Protobuf's rules hold: the
last of several equal map keys wins, repeated messages merge, unknown fields are skipped, ints may be packed or not.
"""

from collections.abc import Callable, Collection, Iterator
from itertools import chain
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from dmlray.data.wire import frame_header
from dmlray.errors import DataError

Values = list[bytes] | NDArray[np.float32] | NDArray[np.int64] | None  # None: a feature without a value
Buffer = bytes | bytearray | memoryview
T = TypeVar("T")

_VARINT, _FIXED64, _BYTES, _GROUP, _GROUP_END, _FIXED32 = range(6)
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3
_MAX_GROUP_DEPTH = 100
_MAX_FIELDS = 1 << 20  # frames of days; TensorFlow packs numbers, so that they are no fields of their own
_VARINT_BYTES = 10
_VARINTS_TOGETHER = 1 << 16
_CUT_VARINT = "a varint is cut short or longer than 64 bits"


class MalformedError(ValueError):
    """These bytes are no such protobuf message. Stays inside ``data``, where it becomes a DataError with its place."""


class Example(NamedTuple):
    """``features``: of an Example, or the context of a SequenceExample. ``feature_lists``: one entry per frame each.

    A feature is a list of bytes, a float32 array, an int64 array, or None when it has no value.
    """

    features: dict[str, Values]
    feature_lists: dict[str, list[Values]]


def decode_record(data: Buffer, *, path: str = "<record>") -> Example:
    """The features of one serialised ``tf.train.Example`` or ``tf.train.SequenceExample``.

    Arrays may share memory with ``data``. Raises DataError, naming ``path`` and the feature, when the bytes are
    neither.
    """
    try:
        return decode(memoryview(data))
    except MalformedError as error:
        raise DataError(path, str(error)) from error


def decode(data: memoryview, wanted: Collection[str] | None = None) -> Example:
    """``decode_record`` that raises MalformedError, and does not look into features that are not ``wanted``."""
    return _Decoder(wanted).example(data)


def varint(data: memoryview, position: int) -> tuple[int, int]:
    """An unsigned 64-bit varint at ``position``, and where it ends."""
    value = shift = 0
    for end, byte in enumerate(data[position : position + 10], position + 1):
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 1 << 64:
                break
            return value, end
        shift += 7
    raise MalformedError(_CUT_VARINT)


class _Decoder:
    """One record's decoding. It ends at ``_MAX_FIELDS``: what a record makes of time and memory is bounded."""

    def __init__(self, wanted: Collection[str] | None) -> None:
        self._wanted = wanted
        self._left = _MAX_FIELDS
        self._lists: dict[int, Callable[[list[memoryview]], Values]] = {
            _BYTES_LIST: self._bytes_list,
            _FLOAT_LIST: self._float_list,
            _INT64_LIST: self._int64_list,
        }

    def example(self, data: memoryview) -> Example:
        example = Example({}, {})
        for field, kind, value in self._fields(data):
            if field == 1 and kind == _BYTES:
                example.features.update(self._map(value, self._feature))
            elif field == 2 and kind == _BYTES:
                example.feature_lists.update(self._map(value, self._feature_list))
        return example

    def _fields(self, data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
        """(field number, wire type, bytes of the value) of each field; a varint's bytes are as they stand."""
        position, end = 0, len(data)
        while position < end:
            self._spend(1)
            tag, start = varint(data, position)
            field, kind = tag >> 3, tag & 7
            if not 0 < field < 1 << 29:
                raise MalformedError(f"field number {field} does not exist in protobuf")
            if kind == _BYTES:
                length, start = varint(data, start)
                position = start + length
            else:
                position = self._skip(data, start, kind, field)
            if position > end:
                raise MalformedError(
                    f"field {field} is longer than what holds it: {position - start} bytes, {end - start} left"
                )
            yield field, kind, data[start:position]

    def _skip(self, data: memoryview, position: int, kind: int, field: int, depth: int = 0) -> int:
        """Where the value of wire type ``kind`` ends."""
        if kind == _VARINT:
            return varint(data, position)[1]
        if kind == _FIXED64:
            return position + 8
        if kind == _FIXED32:
            return position + 4
        if kind == _BYTES:
            length, position = varint(data, position)
            return position + length
        if kind == _GROUP and depth < _MAX_GROUP_DEPTH:
            return self._skip_group(data, position, field, depth)
        raise MalformedError(f"field {field} has wire type {kind}, which does not belong here")

    def _skip_group(self, data: memoryview, position: int, field: int, depth: int) -> int:
        while position < len(data):
            self._spend(1)
            tag, position = varint(data, position)
            if tag & 7 == _GROUP_END:
                if tag >> 3 != field:
                    break
                return position
            position = self._skip(data, position, tag & 7, tag >> 3, depth + 1)
        raise MalformedError(f"group {field} has no end")

    def _spend(self, fields: int) -> None:
        self._left -= fields
        if self._left < 0:
            raise MalformedError(f"has more than {_MAX_FIELDS} fields or bytes of labels, which no video needs")

    def _map(self, data: memoryview, decode_value: Callable[[list[memoryview]], T]) -> dict[str, T]:
        """A ``map<string, message>``; ``decode_value`` gets all pieces of one value, to be merged."""
        entries: dict[str, T] = {}
        for field, kind, entry in self._fields(data):
            if field == 1 and kind == _BYTES:
                key, pieces = self._entry(entry)
                try:
                    entries[key] = decode_value(pieces if self._wanted is None or key in self._wanted else [])
                except MalformedError as error:
                    raise MalformedError(f"feature {key!r}: {error}") from error
        return entries

    def _entry(self, data: memoryview) -> tuple[str, list[memoryview]]:
        key, pieces = "", []
        for field, kind, value in self._fields(data):
            if field == 1 and kind == _BYTES:
                key = _text(value, "strict" if self._wanted is None else "surrogateescape")
            elif field == 2 and kind == _BYTES:
                pieces.append(value)
        return key, pieces

    def _feature_list(self, pieces: list[memoryview]) -> list[Values]:
        values: list[Values] = []
        for piece in pieces:
            alike = self._alike(piece)
            if alike is None:
                alike = [
                    self._feature([value])
                    for field, kind, value in self._fields(piece)
                    if field == 1 and kind == _BYTES
                ]
            values += alike
        return values

    def _alike(self, piece: memoryview) -> list[Values] | None:
        """The features of a list if all are one string of the same length each, as frames are; None if they are not."""
        first = next(self._fields(piece), None)
        value = self._feature([first[2]]) if first and first[:2] == (1, _BYTES) else None
        if not isinstance(value, list) or len(value) != 1:
            return None
        header = bytes(frame_header(len(value[0])))
        period = len(header) + len(value[0])
        starts = range(0, len(piece), period)
        if len(piece) % period or any(piece[start : start + len(header)] != header for start in starts):
            return None
        self._spend(len(starts))
        return [[bytes(piece[start + len(header) : start + period])] for start in starts]

    def _feature(self, pieces: list[memoryview]) -> Values:
        """A Feature is a oneof of three lists: the last kind to appear wins, and pieces of the same kind merge."""
        chosen, lists = 0, list[memoryview]()
        for piece in pieces:
            for field, kind, value in self._fields(piece):
                if field in self._lists and kind == _BYTES:
                    if field != chosen:
                        chosen, lists = field, []
                    lists.append(value)
        return self._lists[chosen](lists) if chosen else None

    def _values(self, lists: list[memoryview], kinds: tuple[int, ...]) -> Iterator[memoryview]:
        return (value for data in lists for field, kind, value in self._fields(data) if field == 1 and kind in kinds)

    def _bytes_list(self, lists: list[memoryview]) -> list[bytes]:
        return [bytes(value) for value in self._values(lists, (_BYTES,))]

    def _float_list(self, lists: list[memoryview]) -> NDArray[np.float32]:
        values = self._values(lists, (_BYTES, _FIXED32))
        first, rest = next(values, memoryview(b"")), bytearray()
        for value in chain([first], values):
            if len(value) % 4:
                raise MalformedError(f"{len(value)} bytes are no whole number of floats")
            if value is not first:
                rest += value
        return np.frombuffer(bytes(first) + rest if rest else first, "<f4")

    def _int64_list(self, lists: list[memoryview]) -> NDArray[np.int64]:
        joined, parts = bytearray(), [np.empty(0, np.uint64)]
        for value in self._values(lists, (_BYTES, _VARINT)):
            if len(value) and value[-1] >= 0x80:
                raise MalformedError(_CUT_VARINT)  # it would join the next
            joined += value
            if self._wanted is not None:
                self._spend(len(value))  # labels of one video are few
            if len(joined) >= _VARINTS_TOGETHER:
                parts.append(varints(joined))
                joined.clear()
        return np.concatenate([*parts, varints(joined)]).view(np.int64)  # two's complement, as int64 varints are


def _text(value: memoryview, errors: str) -> str:
    try:
        return str(value, "utf-8", errors)
    except UnicodeDecodeError as error:
        raise MalformedError(f"the feature name {bytes(value)!r} is not UTF-8") from error


def varints(data: Buffer) -> NDArray[np.uint64]:
    """Unsigned 64-bit varints that fill ``data``, the last of them whole; a few kilobytes at a time."""
    view, first, parts = np.frombuffer(data, np.uint8), 0, [np.empty(0, np.uint64)]
    while first < len(view):
        some = view[first : first + _VARINTS_TOGETHER]
        ends = np.flatnonzero(some < 0x80) + 1
        if not len(ends):
            raise MalformedError(_CUT_VARINT)
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
        sizes = ends - starts
        if sizes.max() > _VARINT_BYTES or (some[starts[sizes == _VARINT_BYTES] + _VARINT_BYTES - 1] > 1).any():
            raise MalformedError(_CUT_VARINT)
        values = np.zeros(len(starts), np.uint64)
        for step in range(int(sizes.max())):
            here = np.flatnonzero(sizes > step)
            values[here] |= (some[starts[here] + step].astype(np.uint64) & np.uint64(0x7F)) << np.uint64(7 * step)
        parts.append(values)
        first += int(ends[-1])
    return np.concatenate(parts)
