"""Headers of TFRecords: a length (uint64, little-endian) and its masked CRC32C, and where the next one stands."""

import struct
from functools import cache, lru_cache

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

HEADER = struct.Struct("<QI")
_MASK = 0xA282EAD8
_STEP = 1 << 20  # positions looked at together: bounds the memory of a search


def masked_crc(data: bytes | bytearray | memoryview) -> int:
    """CRC32C, rotated by 15 bits and offset, as TFRecord stores it."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def mask_crcs(crcs: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """CRC32Cs as TFRecord stores them."""
    rotated: NDArray[np.uint32] = np.bitwise_or(crcs >> np.uint32(15), crcs << np.uint32(17))
    return np.add(rotated, np.uint32(_MASK), dtype=np.uint32)  # wraps around, as it must


@lru_cache(1 << 14)
def length_crc(length: int) -> int:
    """The masked CRC32C of a length as it stands in a header."""
    return masked_crc(length.to_bytes(8, "little"))


def is_header(head: bytes) -> bool:
    """Whether these are 12 bytes whose checksum holds."""
    return len(head) == HEADER.size and masked_crc(head[:8]) == HEADER.unpack(head)[1]


def next_header(data: NDArray[np.uint8], first: int, most: int, end: int | None) -> int | None:
    """The first position from ``first`` on where a header stands, of a record of at most ``most`` bytes (below 2^32).

    The record, checksums and all, must end by position ``end`` of ``data``, known or not. In random bytes such a
    header turns up once in 2^64 positions: 32 bits of checksum hold, and the upper half of the length is 0.
    """
    words = np.ndarray((max(0, len(data) - 3),), "<u4", data, strides=(1,))
    for start in range(first, len(data) - HEADER.size + 1, _STEP):
        stop = min(start + _STEP, len(data) - HEADER.size + 1)
        places = start + np.flatnonzero(words[start + 4 : stop + 4] == 0)
        lengths = words[places].astype(np.int64)
        fits = (lengths <= most) & (_short_length_crc(lengths) == words[places + 8])
        if end is not None:
            fits &= places + lengths + HEADER.size + 4 <= end
        if fits.any():
            return int(places[fits.argmax()])
    return None


def _short_length_crc(lengths: NDArray[np.int64]) -> NDArray[np.uint32]:
    """``length_crc`` of lengths below 2^32 at once: a CRC is affine in the bytes, so each adds what it does alone."""
    tables = _tables()
    crc = np.full(len(lengths), crc32c(bytes(8)), np.uint32)
    for byte in range(4):
        crc ^= tables[byte][lengths >> 8 * byte & 0xFF]
    return mask_crcs(crc)


@cache
def _tables() -> NDArray[np.uint32]:
    zero = crc32c(bytes(8))
    rows = [[crc32c((value << 8 * byte).to_bytes(8, "little")) ^ zero for value in range(256)] for byte in range(4)]
    return np.array(rows, np.uint32)
