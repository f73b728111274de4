"""Example and SequenceExample from the protobuf wire, without generated code.

Sources: protobuf.dev/programming-guides/encoding and tensorflow/core/example/{example,feature}.proto. An Example is a
SequenceExample without feature lists, so one decoder reads both, and each as the other. Protobuf's rules hold: the
last of several equal map keys wins, repeated messages merge, unknown fields are skipped, ints may be packed or not.
"""

from collections.abc import Callable, Collection, Iterator
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
    example = Example({}, {})
    for field, kind, value in fields(data):
        if field == 1 and kind == _BYTES:
            example.features.update(_map(value, _feature, wanted))
        elif field == 2 and kind == _BYTES:
            example.feature_lists.update(_map(value, _feature_list, wanted))
    return example


def fields(data: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """(field number, wire type, bytes of the value) of each field of a message; a varint's bytes are as they stand."""
    position, end = 0, len(data)
    while position < end:
        tag, start = varint(data, position)
        field, kind = tag >> 3, tag & 7
        if not 0 < field < 1 << 29:
            raise MalformedError(f"field number {field} does not exist in protobuf")
        if kind == _BYTES:
            length, start = varint(data, start)
            position = start + length
        else:
            position = _skip(data, start, kind, field)
        if position > end:
            raise MalformedError(
                f"field {field} is longer than what holds it: {position - start} bytes, {end - start} left"
            )
        yield field, kind, data[start:position]


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
    raise MalformedError("a varint is cut short or longer than 64 bits")


def _skip(data: memoryview, position: int, kind: int, field: int, depth: int = 0) -> int:
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
        return _skip_group(data, position, field, depth)
    raise MalformedError(f"field {field} has wire type {kind}, which does not belong here")


def _skip_group(data: memoryview, position: int, field: int, depth: int) -> int:
    while position < len(data):
        tag, position = varint(data, position)
        if tag & 7 == _GROUP_END:
            if tag >> 3 != field:
                break
            return position
        position = _skip(data, position, tag & 7, tag >> 3, depth + 1)
    raise MalformedError(f"group {field} has no end")


def _map(
    data: memoryview, decode_value: Callable[[list[memoryview]], T], wanted: Collection[str] | None
) -> dict[str, T]:
    """A ``map<string, message>`` field's message; ``decode_value`` gets all pieces of one value, to be merged."""
    entries: dict[str, T] = {}
    for field, kind, entry in fields(data):
        if field == 1 and kind == _BYTES:
            key, pieces = _entry(entry, "strict" if wanted is None else "surrogateescape")
            try:
                entries[key] = decode_value(pieces if wanted is None or key in wanted else [])
            except MalformedError as error:
                raise MalformedError(f"feature {key!r}: {error}") from error
    return entries


def _entry(data: memoryview, errors: str) -> tuple[str, list[memoryview]]:
    key, pieces = "", []
    for field, kind, value in fields(data):
        if field == 1 and kind == _BYTES:
            key = _text(value, errors)
        elif field == 2 and kind == _BYTES:
            pieces.append(value)
    return key, pieces


def _text(value: memoryview, errors: str) -> str:
    try:
        return str(value, "utf-8", errors)
    except UnicodeDecodeError as error:
        raise MalformedError(f"the feature name {bytes(value)!r} is not UTF-8") from error


def _feature_list(pieces: list[memoryview]) -> list[Values]:
    values: list[Values] = []
    for piece in pieces:
        alike = _alike(piece)
        if alike is None:
            alike = [_feature([value]) for field, kind, value in fields(piece) if field == 1 and kind == _BYTES]
        values += alike
    return values


def _alike(piece: memoryview) -> list[Values] | None:
    """The features of a list if all are one string of the same length each, as frames are; None if they are not."""
    first = next(fields(piece), None)
    value = _feature([first[2]]) if first and first[:2] == (1, _BYTES) else None
    if not isinstance(value, list) or len(value) != 1:
        return None
    header = bytes(frame_header(len(value[0])))
    period = len(header) + len(value[0])
    starts = range(0, len(piece), period)
    if len(piece) % period or any(piece[start : start + len(header)] != header for start in starts):
        return None
    return [[bytes(piece[start + len(header) : start + period])] for start in starts]


def _feature(pieces: list[memoryview]) -> Values:
    """A Feature is a oneof of three lists: the last kind to appear wins, and pieces of the same kind merge."""
    chosen, lists = 0, list[memoryview]()
    for piece in pieces:
        for field, kind, value in fields(piece):
            if field in _LISTS and kind == _BYTES:
                lists = [*lists, value] if field == chosen else [value]
                chosen = field
    return _LISTS[chosen](lists) if chosen else None


def _bytes_list(lists: list[memoryview]) -> list[bytes]:
    return [bytes(value) for data in lists for field, kind, value in fields(data) if field == 1 and kind == _BYTES]


def _float_list(lists: list[memoryview]) -> NDArray[np.float32]:
    parts = []
    for data in lists:
        for field, kind, value in fields(data):
            if field == 1 and kind in (_BYTES, _FIXED32):
                if len(value) % 4:
                    raise MalformedError(f"{len(value)} bytes are no whole number of floats")
                parts.append(np.frombuffer(value, "<f4"))
    return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, "<f4"), *parts])


def _int64_list(lists: list[memoryview]) -> NDArray[np.int64]:
    values = []
    for data in lists:
        for field, kind, value in fields(data):
            if field == 1 and kind in (_BYTES, _VARINT):
                position = 0
                while position < len(value):
                    number, position = varint(value, position)
                    values.append(number)
    return np.array(values, np.uint64).astype(np.int64)  # two's complement, as int64 varints are


_LISTS: dict[int, Callable[[list[memoryview]], Values]] = {
    _BYTES_LIST: _bytes_list,
    _FLOAT_LIST: _float_list,
    _INT64_LIST: _int64_list,
}
