"""Bytes of a shard in order, from a local file or a pyarrow filesystem, decompressed where they are gzip."""

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from pyarrow.fs import FileSystem, LocalFileSystem

from dmlray.errors import DataError, MissingInputError

GZIP_MAGIC = b"\x1f\x8b\x08"
HEAD_BYTES = 12  # a TFRecord header
_COMPRESSED_STEP = 1 << 16
_INFLATED_STEP = 1 << 20


class Source(Protocol):
    """``size`` is the number of bytes to come in all, None where only reading tells (gzip)."""

    size: int | None

    def fill(self, target: memoryview) -> int:
        """Write the next bytes into ``target``; fewer than it holds only at the end. Gives how many."""


class PlainSource:
    """A file as it is: ``head`` was already read from it."""

    def __init__(self, file: Any, size: int, head: bytes) -> None:
        self.size: int | None = size
        self._file = file
        self._head = head

    def fill(self, target: memoryview) -> int:
        filled = min(len(self._head), len(target))
        target[:filled] = self._head[:filled]
        self._head = self._head[filled:]
        while filled < len(target):
            got = self._file.readinto(target[filled:])
            if not got:
                break
            filled += got
        return filled


class GzipSource:
    """A gzip file of one or several members, inflated step by step: never more at once than was asked for."""

    def __init__(self, file: Any, path: str, head: bytes) -> None:
        self.size: int | None = None
        self._file = file
        self._path = path
        self._compressed = head
        self._inflate = zlib.decompressobj(wbits=31)

    def fill(self, target: memoryview) -> int:
        """As Source says; what precedes a damaged place is given first, the DataError comes with the next call."""
        filled = 0
        while filled < len(target):
            try:
                piece = self._next_piece(min(len(target) - filled, _INFLATED_STEP))
            except DataError:
                if filled:
                    break
                raise
            if not piece:
                break
            target[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def _next_piece(self, limit: int) -> bytes:
        """At most ``limit`` inflated bytes, none at the end of the last member."""
        while True:
            if not self._compressed:
                self._compressed = self._file.read(_COMPRESSED_STEP)
                if not self._compressed and not self._inflate.eof:
                    raise DataError(self._path, "the gzip stream is cut short")
            if self._inflate.eof:
                self._compressed = self._compressed.lstrip(b"\0")  # tape padding, which gzip(1) ignores too
                if not self._compressed:
                    return b""
                self._inflate = zlib.decompressobj(wbits=31)
            try:
                piece = self._inflate.decompress(self._compressed, limit)
            except zlib.error as error:
                raise DataError(self._path, f"the gzip stream is damaged ({error})") from error
            self._compressed = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            if piece:
                return piece


@contextmanager
def open_source(path: str | Path, filesystem: FileSystem | None, is_plain: Callable[[bytes], bool]) -> Iterator[Source]:
    """Open ``path`` (on ``filesystem``, or local): gzip if its first bytes say so and ``is_plain`` of them is False.

    Raises MissingInputError when there is no such file, or none that may be read.
    """
    filesystem = filesystem or LocalFileSystem()
    try:
        file = filesystem.open_input_file(str(path))
    except PermissionError as error:
        raise MissingInputError(path, "TFRecord file that may be read") from error
    except OSError as error:
        if filesystem.get_file_info(str(path)).is_file:
            raise
        raise MissingInputError(path, "TFRecord file") from error
    with file:
        head = file.read(HEAD_BYTES)
        if head.startswith(GZIP_MAGIC) and not is_plain(head):
            yield GzipSource(file, str(path), head)
        else:
            yield PlainSource(file, file.size(), head)
