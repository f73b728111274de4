"""TFRecords and protobuf messages written out by the book, slowly, with every liberty that the wire format leaves."""

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

Values = Sequence[bytes] | Sequence[float] | Sequence[int]


def crc32c(data: bytes) -> int:
    """Castagnoli, bit by bit (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def header(length: int) -> bytes:
    return struct.pack("<Q", length) + masked(struct.pack("<Q", length))


def framed(data: bytes) -> bytes:
    return header(len(data)) + data + masked(data)


def write(path: Path, records: Iterable[bytes]) -> str:
    path.write_bytes(b"".join(map(framed, records)))
    return str(path)


def varint(number: int, longer: int = 0) -> bytes:
    """``longer``: superfluous bytes, which the format allows."""
    number &= (1 << 64) - 1
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(number & 0x7F)
    digits += [0] * min(longer, 10 - len(digits))
    return bytes([digit | 0x80 for digit in digits[:-1]] + digits[-1:])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def bytes_feature(values: Iterable[bytes]) -> bytes:
    return field(1, b"".join(field(1, value) for value in values))


def float_feature(values: Iterable[float], packed: bool = True) -> bytes:
    numbers = [struct.pack("<f", value) for value in values]
    return field(2, field(1, b"".join(numbers)) if packed else b"".join(b"\x0d" + number for number in numbers))


def int_feature(values: Iterable[int], packed: bool = True, longer: int = 0) -> bytes:
    numbers = [varint(value, longer) for value in values]
    return field(3, field(1, b"".join(numbers)) if packed else b"".join(b"\x08" + number for number in numbers))


def entry(key: str, value: bytes, value_first: bool = False) -> bytes:
    parts = [field(1, key.encode()), field(2, value)]
    return field(1, b"".join(reversed(parts) if value_first else parts))


def feature_list(features: Iterable[bytes]) -> bytes:
    return b"".join(field(1, feature) for feature in features)


def example(features: dict[str, bytes], lists: dict[str, bytes] | None = None) -> bytes:
    """An Example, or with ``lists`` a SequenceExample, in the order of the dictionaries."""
    data = field(1, b"".join(entry(key, value) for key, value in features.items()))
    return data if lists is None else data + field(2, b"".join(entry(key, value) for key, value in lists.items()))


def frames(rows: Iterable[bytes]) -> bytes:
    return feature_list(bytes_feature([row]) for row in rows)
