"""Arrow shards read as files, wherever they lie: for a stream, where the memory map needs a local folder."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from crc32c import crc32c
from pyarrow.fs import FileSystem, LocalFileSystem

from dmlray.data.location import Location, reached
from dmlray.data.manifest import MANIFEST, Manifest, parse_document
from dmlray.data.schema import Schema
from dmlray.data.shards import arrow_schema
from dmlray.errors import MissingInputError, StorageError

_PIECE_BYTES = 16 << 20


def read_manifest_at(location: Location, folder: str) -> Manifest | None:
    """The manifest in ``folder`` ("" or ending in /) of a location, None where there is none.

    Raises StorageError when it is damaged, UnavailableError when the filesystem does not answer.
    """
    path = location.path(folder + MANIFEST)
    filesystem = location.filesystem or LocalFileSystem()
    with reached(location):
        if not filesystem.get_file_info(path).is_file:
            return None
        with filesystem.open_input_file(path) as file:
            return parse_document(path, file.read(), Manifest)


def read_shard(path: str, size: int, checksum: int, schema: Schema, filesystem: FileSystem | None) -> Iterator[Any]:
    """The record batches of one shard, cut into pieces of about 16 MiB; the shard is held in memory, and checked first.

    Raises MissingInputError when it is gone, StorageError when its bytes are not those of the manifest.
    """
    filesystem = filesystem or LocalFileSystem()
    if not filesystem.get_file_info(path).is_file:
        raise MissingInputError(path, "Arrow shard, which the manifest names,")
    with filesystem.open_input_file(path) as file:
        data = file.read()
    if len(data) != size or crc32c(data) != checksum:
        raise StorageError(path, f"is damaged: its {len(data)} bytes are not those of the manifest")
    reader = pa.ipc.open_file(pa.py_buffer(data))
    if not reader.schema.equals(arrow_schema(schema)):
        raise StorageError(path, "has other columns than the manifest says")
    for number in range(reader.num_record_batches):
        batch = reader.get_batch(number)
        step = max(1, len(batch) * _PIECE_BYTES // max(1, batch.nbytes))
        yield from (batch.slice(first, step) for first in range(0, len(batch), step))
