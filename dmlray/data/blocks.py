"""A memory-mapped shard as NumPy views: nothing is read before it is touched, nothing is copied."""

from dataclasses import dataclass
from pathlib import Path

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
    """The videos of one record batch, as views of the map.

    Frames of video ``row`` are ``features[modality][frame_offsets[row] : frame_offsets[row + 1]]``, (T, D); a
    video-level vector is a video of one frame.
    """

    ids: pa.StringArray
    labels: Ragged
    frame_offsets: list[int]  # Python's own integers: indexing an array costs as much as copying a short video
    features: dict[str, NDArray[np.generic]]

    def __len__(self) -> int:
        return len(self.frame_offsets) - 1

    def length(self, row: int) -> int:
        """Number of frames of video ``row``."""
        return self.frame_offsets[row + 1] - self.frame_offsets[row]


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
    blocks = [_block(path, batch, schema) for batch in batches]
    if tuple(len(block) for block in blocks) != shard.blocks:
        raise StorageError(path, "holds another number of videos than the manifest says")
    return blocks


def first_line(error: Exception) -> str:
    """Arrow's messages may go on with a trace of its own."""
    return str(error).partition("\n")[0]


def _block(path: Path, batch: pa.RecordBatch, schema: Schema) -> Block:
    if any(column.null_count or column.offset for column in batch.columns):
        raise StorageError(path, "has empty cells where none can be")
    labels = batch.column("labels")
    columns = [batch.column(modality.name) for modality in schema.modalities]
    offsets = [_frame_offsets(column, len(batch)) for column in columns]
    if any(other != offsets[0] for other in offsets[1:]):
        raise StorageError(path, "has modalities with different numbers of frames")
    return Block(
        ids=batch.column("id"),
        labels=Ragged(labels.offsets.to_numpy().astype(np.int64), labels.values.to_numpy(zero_copy_only=True)),
        frame_offsets=offsets[0],
        features={
            modality.name: _frames(column, modality)
            for modality, column in zip(schema.modalities, columns, strict=True)
        },
    )


def _frame_offsets(column: pa.Array, videos: int) -> list[int]:
    if isinstance(column, pa.ListArray):
        return [int(offset) for offset in np.asarray(column.offsets)]
    return list(range(videos + 1))


def _frames(column: pa.Array, modality: Modality) -> NDArray[np.generic]:
    """All frames of a column as one view, (frames, D)."""
    cells = column.values if isinstance(column, pa.ListArray) else column
    data = np.frombuffer(cells.buffers()[1] or b"", np.dtype(modality.dtype).newbyteorder("<"))
    return data[: len(cells) * modality.width].reshape(len(cells), modality.width)
