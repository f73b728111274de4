"""Videos of a shard in blocks: vectorised where records are of the plain shape, one by one where they are not."""

from collections.abc import Iterator

import numpy as np
from pyarrow.fs import FileSystem

from dmlray.data.columns import Columns, VideoBlock
from dmlray.data.example import MalformedError
from dmlray.data.schema import Schema
from dmlray.data.tfrecord import BadRecord, Chunk, OnBad, read_chunks
from dmlray.data.video import decode_video
from dmlray.errors import DataError

__all__ = ["BadRecord", "VideoBlock", "read_videos"]


def read_videos(
    path: str,
    schema: Schema,
    *,
    filesystem: FileSystem | None = None,
    block_videos: int = 512,
    on_bad: OnBad | None = None,
) -> Iterator[VideoBlock]:
    """The videos of one TFRecord shard in their order, at most ``block_videos`` and about 16 MiB in a block.

    Every video has one id, labels from 0 to classes - 1 (each once, as the official reader takes them as a set), and
    features of the schema's type and width. A frame-level video has at least one frame, and as many in each modality:
    the official reader counts the frames of the first feature and would pad or cut the others, which we refuse.

    Without ``on_bad`` the first record that breaks this raises DataError with path, record and offset; with it, such
    records are handed over and reading goes on where the framing allows. Raises MissingInputError for no such file.
    """
    for chunk in read_chunks(path, filesystem=filesystem, chunk_records=block_videos, on_bad=on_bad):
        block = _block(chunk, schema, on_bad)
        if len(block):
            yield block


def _block(chunk: Chunk, schema: Schema, on_bad: OnBad | None) -> VideoBlock:
    columns = Columns(chunk, schema)
    kept = columns.ok.copy()
    for lane in np.flatnonzero(~columns.ok).tolist():
        try:
            columns.put(lane, decode_video(chunk.data(lane), schema))
            kept[lane] = True
        except MalformedError as error:
            index, offset, problem = chunk.indices[lane], chunk.offsets[lane], str(error)
            if on_bad is None:
                raise DataError(chunk.path, problem, index, offset) from error
            on_bad(BadRecord(chunk.path, index, offset, problem, bytes(chunk.data(lane))))
    return columns.block(kept)
