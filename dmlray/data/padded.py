"""Frame-level TFRecords straight to padded batches, each frame copied once: for reading without converting first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyarrow.fs import FileSystem

from dmlray.data.reader import read_columns
from dmlray.data.schema import Schema
from dmlray.data.tfrecord import OnBad


@dataclass
class PaddedBatch:
    """B videos. ``features`` by modality name (B, ``schema.max_frames``, D) uint8, 0 behind the ``lengths`` (B,).

    ``features`` live in memory that the next batch overwrites; ``labels`` are the classes of each video.
    """

    ids: list[str]
    labels: list[NDArray[np.int64]]
    features: dict[str, NDArray[np.uint8]]
    lengths: list[int]


def read_padded(
    paths: Sequence[str],
    schema: Schema,
    batch_size: int,
    *,
    filesystem: FileSystem | None = None,
    on_bad: OnBad | None = None,
) -> Iterator[PaddedBatch]:
    """The videos of frame-level shards in order, each cut to ``schema.max_frames``; only the last batch is smaller.

    Bad records and errors are those of ``reader.read_videos``.
    """
    memory = {m.name: np.zeros((batch_size, schema.max_frames, m.width), np.uint8) for m in schema.modalities}
    dirty = [0] * batch_size  # frames of the batch before: what lies behind them is 0 already
    batch = PaddedBatch([], [], memory, [])
    for columns, kept, _ in read_columns(paths, schema, filesystem, batch_size, on_bad):
        frames = columns.frames(kept)
        for number, (video_id, labels) in enumerate(zip(columns.ids(kept), columns.labels(kept), strict=True)):
            row = len(batch.ids)
            length = min(len(frames[schema.modalities[0].name][number]), schema.max_frames)
            for name, rows in memory.items():
                rows[row, :length] = frames[name][number][:length]
                rows[row, length : dirty[row]] = 0
            dirty[row] = length
            batch.ids.append(video_id)
            batch.labels.append(labels)
            batch.lengths.append(length)
            if row + 1 == batch_size:
                yield batch
                batch = PaddedBatch([], [], memory, [])
    if batch.ids:
        features = {name: rows[: len(batch.ids)] for name, rows in memory.items()}
        yield PaddedBatch(batch.ids, batch.labels, features, batch.lengths)
