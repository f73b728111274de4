"""The files of a stream: which they are, in which order an epoch reads them, and whether they are still the same."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from pydantic import NonNegativeInt

from dmlray.data.arrow_files import read_manifest_at
from dmlray.data.location import Location, list_files, locate
from dmlray.data.manifest import SourceFile
from dmlray.data.plan import pack
from dmlray.data.reader import read_videos
from dmlray.data.schema import Schema
from dmlray.errors import DataError
from dmlray.seeding import derive_seed


class StreamFile(SourceFile):
    """A TFRecord file, or an Arrow shard whose checksum is ``crc32c``."""

    crc32c: NonNegativeInt | None = None


@dataclass(frozen=True)
class StreamSource:
    """Files of one schema, TFRecords or Arrow shards, to be trained on where they are; ``uri`` is their folder's."""

    uri: str
    files: tuple[StreamFile, ...]
    schema: Schema

    @classmethod
    def open(cls, source: str | Path, schema: Schema) -> "StreamSource":
        """The files of ``source``, local or remote: of TFRecords a folder or a pattern, of which the first videos are
        read; of Arrow shards the folder that ``dmlray convert`` wrote, or that of its ``train`` split.

        Raises MissingInputError for no files, DataError when they are not what ``schema`` says, StorageError for a
        conversion that is damaged, UsageError and UnavailableError as `data.location.locate` does.
        """
        location = locate(source)
        for folder in ("", "train/") if location.only is None and location.glob is None else ():
            manifest = read_manifest_at(location, folder)
            if manifest is None:
                continue
            if manifest.contents != schema:
                raise DataError(location.path(folder), "the shards have another schema than the validation videos")
            shards = [shard for shard in manifest.shards if shard.videos]
            files = (StreamFile(name=folder + s.file, size=s.bytes, crc32c=s.crc32c) for s in shards)
            return cls(location.uri, tuple(files), schema)
        return cls(location.uri, _tfrecords(location, schema), schema)

    @property
    def fingerprint(self) -> str:
        """Hash of the files' names, sizes and known checksums, and of the schema."""
        digest = hashlib.sha256(self.schema.model_dump_json().encode())
        for file in self.files:
            checksum = "" if file.crc32c is None else f"\0{file.crc32c}"
            digest.update(f"\0{file.name}\0{file.size}{checksum}".encode())
        return digest.hexdigest()

    def groups(self, seed: int, epoch: int) -> list[list[StreamFile]]:
        """All files in the epoch's order, those that one task reads together."""
        order = np.random.default_rng(derive_seed(seed, "files", epoch)).permutation(len(self.files))
        return cast(list[list[StreamFile]], pack([self.files[number] for number in order.tolist()]))


def _tfrecords(location: Location, schema: Schema) -> tuple[StreamFile, ...]:
    files = list_files(location)
    for file in files:
        if next(read_videos(location.path(file.name), schema, filesystem=location.filesystem), None) is not None:
            return tuple(StreamFile(name=file.name, size=file.size) for file in files)
    raise DataError(location.root, f"none of its {len(files)} TFRecord files holds a video")
