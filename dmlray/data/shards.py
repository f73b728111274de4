"""Arrow shards: IPC files, uncompressed, that a memory map turns into NumPy views without a copy.

Columns: ``id`` string, ``labels`` list<int64>, and per modality, under its name: frame-level
list<fixed_size_binary[D]> with the 8-bit frames as they came, video-level fixed_size_binary[4 * D], float32
little-endian. A record batch is called a block. Format: https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format.
"""

from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
from crc32c import crc32c
from numpy.typing import NDArray

from dmlray.data.reader import VideoBlock
from dmlray.data.schema import Modality, Schema

_CRC_STEP = 16 << 20


def arrow_schema(schema: Schema) -> pa.Schema:
    """Columns of a shard."""
    columns = [pa.field("id", pa.string()), pa.field("labels", pa.list_(pa.int64()))]
    for modality in schema.modalities:
        cell = pa.binary(frame_bytes(modality))
        columns.append(pa.field(modality.name, pa.list_(cell) if schema.level == "frame" else cell))
    return pa.schema(columns)


def frame_bytes(modality: Modality) -> int:
    """Bytes of one frame, or of one video-level vector."""
    return modality.width * np.dtype(modality.dtype).itemsize


def record_batch(videos: VideoBlock, schema: Schema) -> pa.RecordBatch:
    """The columns of ``videos``, features over the same memory where they are contiguous."""
    columns = [pa.array(videos.ids, pa.string())]
    columns.append(_lists(videos.label_offsets, pa.array(videos.label_values, pa.int64())))
    for modality in schema.modalities:
        cells = _cells(videos.features[modality.name], modality)
        columns.append(cells if videos.frame_offsets is None else _lists(videos.frame_offsets, cells))
    return pa.record_batch(columns, schema=arrow_schema(schema))


class ShardWriter:
    """Writes blocks to one file; what was written is in ``blocks`` and ``frames``. A context manager."""

    def __init__(self, path: Path, schema: Schema) -> None:
        self._schema = schema
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, arrow_schema(schema))
        self.blocks: list[int] = []
        self.frames = 0

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
        finally:
            self._file.close()

    def write(self, videos: VideoBlock) -> None:
        """Append ``videos`` as one block."""
        self._writer.write_batch(record_batch(videos, self._schema))
        self.blocks.append(len(videos.ids))
        self.frames += len(videos.ids) if videos.frame_offsets is None else int(videos.frame_offsets[-1])


def _cells(rows: NDArray[np.generic], modality: Modality) -> pa.Array:
    """Rows (N, D) as fixed-size binaries, over the same memory where it is contiguous."""
    data = np.ascontiguousarray(rows, np.dtype(modality.dtype).newbyteorder("<"))
    assert data.shape[1:] == (modality.width,)
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(frame_bytes(modality)), len(data), [None, pa.py_buffer(data.reshape(-1))]
    )


def _lists(offsets: NDArray[np.int64], values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values)


def file_crc(path: Path) -> int:
    """CRC32C of a file, read in steps."""
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(_CRC_STEP):
            crc = crc32c(piece, crc)
    return crc
