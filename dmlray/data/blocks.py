"""A memory-mapped shard as NumPy views: nothing is read before it is touched, nothing is copied."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dmlray.data.manifest import ShardRecord
from dmlray.data.ragged import Ragged
from dmlray.data.schema import Modality, Schema
from dmlray.data.shards import arrow_schema
from dmlray.errors import StorageError


@dataclass(frozen=True)
class Block:
    """The videos of one record batch, as views of the map: its memory does not grow with the number of videos.

    Frames of video ``row`` are ``features[modality][frame_offsets[row] : frame_offsets[row + 1]]``, (T, D);
    ``frame_offsets`` is None for video-level, where that is row ``row``.
    """

    ids: pa.StringArray
    label_offsets: NDArray[np.int32]
    label_values: NDArray[np.int64]
    frame_offsets: NDArray[np.int32] | None
    features: dict[str, NDArray[np.generic]]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> Ragged:
        """Labels of every video."""
        return Ragged(self.label_offsets.astype(np.int64), self.label_values)

    def frames(self, row: int) -> slice:
        """The rows of ``features`` that hold video ``row``."""
        if self.frame_offsets is None:
            return slice(row, row + 1)
        return slice(int(self.frame_offsets[row]), int(self.frame_offsets[row + 1]))

    def addresses(self) -> "BlockAddresses":
        """Where the columns begin in memory, as long as this block lives."""
        _, id_offsets, id_bytes = self.ids.buffers()
        return BlockAddresses(
            id_offsets=_start(id_offsets),
            id_bytes=_start(id_bytes),
            label_offsets=_address(self.label_offsets),
            label_values=_address(self.label_values),
            frame_offsets=0 if self.frame_offsets is None else _address(self.frame_offsets),
            features=tuple(_address(frames) for frames in self.features.values()),
        )


class BlockAddresses(NamedTuple):
    """Addresses of a block's columns, 0 for none; ``features`` in the order of the schema's modalities."""

    id_offsets: int
    id_bytes: int
    label_offsets: int
    label_values: int
    frame_offsets: int
    features: tuple[int, ...]


def address_table(schema: Schema, blocks: int) -> NDArray[np.void]:
    """A NumPy record like BlockAddresses for each of ``blocks`` blocks, all 0."""
    shapes = {"features": (len(schema.modalities),)}
    fields = [(name, np.int64, shapes.get(name, ())) for name in BlockAddresses._fields]
    return np.zeros(blocks, fields)


def map_shard(folder: Path, shard: ShardRecord, schema: Schema) -> list[Block]:
    """Map a shard's blocks. The map outlives the file descriptor, so thousands of shards can be open.

    Raises StorageError when the file is not what the manifest says.
    """
    path = folder / shard.file
    try:
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
            columns = reader.schema
            batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        for batch in batches:
            batch.validate(full=True)  # offsets and ids only: features are never read here
    except (pa.ArrowException, OSError) as error:
        raise StorageError(path, f"is not a whole Arrow file ({first_line(error)})") from error
    if not columns.equals(arrow_schema(schema)):
        raise StorageError(path, "has other columns than the manifest says")
    blocks = [as_block(path, batch, schema) for batch in batches]
    if tuple(len(block) for block in blocks) != shard.blocks:
        raise StorageError(path, "holds another number of videos than the manifest says")
    return blocks


def first_line(error: Exception) -> str:
    """Arrow's messages may go on with a trace of its own."""
    return str(error).partition("\n")[0]


def as_block(path: Path | str, batch: pa.RecordBatch, schema: Schema) -> Block:
    """Views of a record batch from ``path``. Raises StorageError when it is not what a shard of ``schema`` holds."""
    if any(column.null_count or column.offset for column in batch.columns):
        raise StorageError(path, "has empty cells where none can be")
    labels = batch.column("labels")
    columns = [batch.column(modality.name) for modality in schema.modalities]
    offsets = [_offsets(column) if isinstance(column, pa.ListArray) else None for column in columns]
    counted = [one for one in offsets if one is not None]
    if any(not np.array_equal(other, counted[0]) for other in counted[1:]):
        raise StorageError(path, "has modalities with different numbers of frames")
    return Block(
        ids=batch.column("id"),
        label_offsets=_offsets(labels),
        label_values=np.frombuffer(labels.values.buffers()[1] or b"", "<i8", len(labels.values)),
        frame_offsets=offsets[0],
        features={
            modality.name: _frames(column, modality)
            for modality, column in zip(schema.modalities, columns, strict=True)
        },
    )


def _offsets(column: pa.ListArray) -> NDArray[np.int32]:
    """A view of them; ``to_numpy`` would import pandas, a third of a second."""
    return np.frombuffer(column.offsets.buffers()[1] or bytes(4), "<i4", len(column) + 1)


def _frames(column: pa.Array, modality: Modality) -> NDArray[np.generic]:
    """All frames of a column as one view, (frames, D)."""
    cells = column.values if isinstance(column, pa.ListArray) else column
    dtype = np.dtype(modality.dtype).newbyteorder("<")
    data = np.frombuffer(cells.buffers()[1] or b"", dtype, len(cells) * modality.width)
    return data.reshape(len(cells), modality.width)


def _address(view: NDArray[np.generic]) -> int:
    return int(view.__array_interface__["data"][0])


def _start(buffer: pa.Buffer | None) -> int:
    return 0 if buffer is None else int(buffer.address)
