"""Chunks of many tiny files copied into one: reading across 128 records costs hardly more than reading one."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from dmlray.data.tfrecord import SLACK, Chunk
from dmlray.errors import DataError

_POOL_BYTES = 1 << 20


def pool_chunks(chunks: Iterable[Chunk], records: int) -> Iterator[Chunk]:
    """The same records in the same order, in chunks of at most ``records`` or as they came; small ones are joined.

    A DataError of ``chunks`` comes after all records before it.
    """
    waiting: list[Chunk] = []
    try:
        for chunk in chunks:
            if waiting and not _fit([*waiting, chunk], records):
                yield _join(waiting)
                waiting = []
            if _fit([chunk], records):
                waiting.append(_compact(chunk))
            else:
                yield chunk
    except DataError:
        if waiting:
            yield _join(waiting)
        raise
    if waiting:
        yield _join(waiting)


def _fit(chunks: Sequence[Chunk], records: int) -> bool:
    """Whether these together make one chunk of moderate size."""
    return sum(map(len, chunks)) <= records and sum(map(_extent, chunks)) <= _POOL_BYTES


def _extent(chunk: Chunk) -> int:
    """Bytes from the first record to the end of the last."""
    return int(chunk.starts[-1] + chunk.lengths[-1] - chunk.starts[0])


def _compact(chunk: Chunk) -> Chunk:
    """A copy that does not share the buffer, which the file's next chunk overwrites."""
    first = int(chunk.starts[0])
    data = chunk.buffer[first : first + _extent(chunk)].copy()
    return replace(chunk, buffer=data, starts=chunk.starts - first)


def _join(chunks: Sequence[Chunk]) -> Chunk:
    bases = np.cumsum([0, *(len(chunk.buffer) for chunk in chunks)])
    return Chunk(
        paths=[path for chunk in chunks for path in chunk.paths],
        buffer=np.concatenate([*(chunk.buffer for chunk in chunks), np.zeros(SLACK, np.uint8)]),
        starts=np.concatenate([chunk.starts + base for chunk, base in zip(chunks, bases, strict=False)]),
        lengths=np.concatenate([chunk.lengths for chunk in chunks]),
        indices=[index for chunk in chunks for index in chunk.indices],
        offsets=np.concatenate([chunk.offsets for chunk in chunks]),
    )
