"""What to predict on: TFRecords as they are or converted splits, cut into parts that are predicted one by one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt

from dmlray.config import Config
from dmlray.data.dataset import Dataset
from dmlray.data.example import decode_record
from dmlray.data.gather import Videos, VideoStore
from dmlray.data.location import Location, list_files, locate, reached
from dmlray.data.manifest import MANIFEST, SourceFile
from dmlray.data.merge import merge
from dmlray.data.plan import pack
from dmlray.data.reader import read_files
from dmlray.data.schema import Schema
from dmlray.data.tfrecord import read_records
from dmlray.errors import StorageError
from dmlray.registry.package import as_store, batch_bounds, check_schema

PART_BYTES = 16 << 20


class Part(Config):
    """Neighbouring TFRecord ``files`` below ``uri``; or, of the converted split in the folder ``uri`` that has that
    ``fingerprint``, the videos ``first`` to ``last`` - 1. ``size`` in bytes tells how much work it is.
    """

    number: NonNegativeInt
    uri: str
    size: NonNegativeInt
    files: tuple[SourceFile, ...] = ()
    has_labels: bool = True
    fingerprint: str | None = None
    first: NonNegativeInt = 0
    last: NonNegativeInt = 0


@dataclass(frozen=True)
class Piece:
    """Videos ``indices`` (B,) of a store: one batch to score."""

    store: VideoStore
    indices: NDArray[np.int64]

    def ids_and_labels(self) -> tuple[list[str], NDArray[np.int64]]:
        """Ids, and labels (B, L) padded with -1."""
        videos = Videos.read(self.store, self.indices)
        return list(videos.ids), videos.labels


def plan_parts(sources: Sequence[str], schema: Schema) -> list[Part]:
    """Parts of about `PART_BYTES` in the order of ``sources``, each a converted split, or a folder, file or pattern of
    TFRecords; files of one source are taken by name.

    Raises MissingInputError for a source without files, DataError for features of another shape than ``schema``.
    """
    parts: list[Part] = []
    for source in sources:
        found = _converted(Path(source), schema) if (Path(source) / MANIFEST).is_file() else _raw(source, schema)
        parts += [part.model_copy(update={"number": len(parts) + place}) for place, part in enumerate(found)]
    return parts


def read_part(part: Part, schema: Schema, batch_size: int) -> Iterator[Piece]:
    """The part's videos, each once, in batches of at most ``batch_size``; memory holds a few batches, never the part.

    Videos of TFRecords are numbered from 0 within the part. Raises DataError naming file, record and byte for a bad
    record, or a file that has changed since the part was planned.
    """
    if part.fingerprint is not None:
        dataset = _open(part.uri, part.fingerprint)
        for bounds in batch_bounds(part.first, part.last, batch_size):
            yield Piece(dataset, np.arange(*bounds))
        return
    location, first = locate(part.uri), 0
    paths = [location.path(file.name) for file in part.files]
    plain = schema if part.has_labels else schema.model_copy(update={"labels_feature": None})
    with reached(location):
        blocks = (block for block, _ in read_files(paths, plain, filesystem=location.filesystem) if len(block))
        for block in merge(blocks, batch_size):
            store = as_store(block, schema, first)
            for bounds in batch_bounds(first, first + len(block), batch_size):
                yield Piece(store, np.arange(*bounds))
            first += len(block)


@lru_cache(maxsize=2)
def _open(uri: str, fingerprint: str) -> Dataset:
    """Opened once for all of its parts: that looks at every shard."""
    dataset = Dataset.open(Path(uri))
    if dataset.fingerprint != fingerprint:
        raise StorageError(uri, "was converted again meanwhile: start the prediction again")
    return dataset


def _converted(folder: Path, schema: Schema) -> list[Part]:
    dataset = Dataset.open(folder)
    check_schema(str(folder), dataset.schema, schema)
    per_video = sum(shard.bytes for shard in dataset.manifest.shards) / max(1, len(dataset))
    count = max(1, int(PART_BYTES / max(1.0, per_video)))
    return [
        Part(
            number=0,
            uri=str(folder.absolute()),
            size=round(per_video * (last - first)),
            fingerprint=dataset.fingerprint,
            first=first,
            last=last,
        )
        for first, last in batch_bounds(0, len(dataset), count)
    ]


def _raw(source: str, schema: Schema) -> list[Part]:
    location = locate(source)
    groups = pack(list_files(location), PART_BYTES)
    has_labels = _has_labels(location, groups[0][0], schema)
    return [
        Part(
            number=0,
            uri=location.uri,
            size=sum(file.size for file in group),
            files=tuple(group),
            has_labels=has_labels,
        )
        for group in groups
    ]


def _has_labels(location: Location, file: SourceFile, schema: Schema) -> bool:
    """Whether the first record has labels; those of a challenge's test set have none."""
    path = location.path(file.name)
    with reached(location):
        for record in read_records(path, filesystem=location.filesystem):
            return schema.labels_feature in decode_record(record.data, path=path).features
    return True
