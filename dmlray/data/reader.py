"""Videos of a shard in blocks: vectorised where records are of the plain shape, one by one where they are not."""

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np
from pyarrow.fs import FileSystem

from dmlray.data.columns import Columns, VideoBlock
from dmlray.data.example import MalformedError
from dmlray.data.layout import Layouts
from dmlray.data.pool import pool_chunks
from dmlray.data.schema import Schema
from dmlray.data.tfrecord import BadRecord, Chunk, OnBad, read_chunks
from dmlray.data.video import decode_video
from dmlray.data.wire import Flags
from dmlray.errors import DataError

__all__ = ["BadRecord", "VideoBlock", "read_columns", "read_files", "read_videos"]

MAX_VIDEO_BYTES = 32 << 20  # YouTube-8M's frames of eight hours

CHUNK_BYTES = {"frame": 16 << 20, "video": 4 << 20}  # what stays in a core's cache is read twice for one price


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
    for block, _ in read_files([path], schema, filesystem=filesystem, block_videos=block_videos, on_bad=on_bad):
        if len(block):
            yield block


def read_files(
    paths: Sequence[str],
    schema: Schema,
    *,
    filesystem: FileSystem | None = None,
    block_videos: int = 512,
    on_bad: OnBad | None = None,
) -> Iterator[tuple[VideoBlock, list[str]]]:
    """As ``read_videos``, of many shards in order, and from which path each video came.

    Tiny shards share blocks, which makes reading them up to ten times as fast. A block whose records were all bad is
    given too, so that a caller of ``on_bad`` can act in between.
    """
    for columns, kept, chunk in read_columns(paths, schema, filesystem, block_videos, on_bad):
        yield columns.block(kept), [chunk.paths[lane] for lane in np.flatnonzero(kept).tolist()]


def read_columns(
    paths: Sequence[str], schema: Schema, filesystem: FileSystem | None, block_videos: int, on_bad: OnBad | None
) -> Iterator[tuple[Columns, Flags, Chunk]]:
    """What ``read_files`` copies: columns over a chunk's buffer, valid until the next, and which records are videos."""
    files = (
        read_chunks(
            path,
            filesystem=filesystem,
            max_record_bytes=MAX_VIDEO_BYTES,
            chunk_bytes=CHUNK_BYTES[schema.level],
            chunk_records=block_videos,
            on_bad=on_bad,
        )
        for path in paths
    )
    layouts = Layouts()
    for chunk in pool_chunks(chain.from_iterable(files), block_videos):
        columns = Columns(chunk, schema, layouts)
        yield columns, _complete(columns, chunk, schema, on_bad), chunk


def _complete(columns: Columns, chunk: Chunk, schema: Schema, on_bad: OnBad | None) -> Flags:
    """Decode one by one what is not of the plain shape; which records are videos in the end."""
    kept = columns.ok.copy()
    for lane in np.flatnonzero(~columns.ok).tolist():
        try:
            columns.put(lane, decode_video(chunk.data(lane), schema))
            kept[lane] = True
        except MalformedError as error:
            path, index, offset, problem = chunk.paths[lane], chunk.indices[lane], int(chunk.offsets[lane]), str(error)
            if on_bad is None:
                raise DataError(path, problem, index, offset) from error
            on_bad(BadRecord(path, index, offset, problem, bytes(chunk.data(lane))))
    return kept
