"""TFRecord framing: length (uint64), masked CRC32C of the length, data, masked CRC32C of the data, little-endian.

Source: tensorflow/core/lib/io/record_writer.h. Both checksums are always checked. A file that was cut exactly between
two records is whole as far as the framing can tell; the number of records in the manifest shows such a cut.
"""

from collections.abc import Iterator
from pathlib import Path

from pyarrow.fs import FileSystem

from dmlray.data.framing import CHUNK_BYTES, Framing
from dmlray.data.header import is_header, masked_crc
from dmlray.data.records import SLACK, BadRecord, Chunk, OnBad, Record
from dmlray.data.source import open_source

__all__ = ["SLACK", "BadRecord", "Chunk", "OnBad", "Record", "masked_crc", "read_chunks", "read_records"]

MAX_RECORD_BYTES = 256 << 20


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
    and byte offset; with it, bad records are handed over and reading goes on: behind a wrong data checksum with the
    next record, behind a wrong length where the next header with a right checksum stands. What lies between counts as
    one record and is handed over too, as far as it fits ``KEPT_BYTES``. Raises MissingInputError when there is no such
    file.

    >>> for record in read_records("videos.tfrecord"):  # doctest: +SKIP
    ...     print(record.index, decode_record(record.data).features["id"])
    """
    for chunk in read_chunks(
        path, filesystem=filesystem, max_record_bytes=max_record_bytes, on_bad=on_bad, reuse_buffer=False
    ):
        for position, (index, offset) in enumerate(zip(chunk.indices, chunk.offsets.tolist(), strict=True)):
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
    with open_source(path, filesystem, is_header) as source:
        yield from Framing(str(path), source, max_record_bytes, chunk_bytes, on_bad, reuse_buffer).chunks(chunk_records)
