"""The files of a stream: which they are, in which order an epoch reads them, and whether they are still the same."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmlray.data.location import list_files, locate
from dmlray.data.manifest import SourceFile
from dmlray.data.plan import pack
from dmlray.data.reader import read_videos
from dmlray.data.schema import Schema
from dmlray.errors import DataError
from dmlray.seeding import derive_seed


@dataclass(frozen=True)
class StreamSource:
    """TFRecord files of one schema, to be trained on without converting them; ``uri`` is their folder's."""

    uri: str
    files: tuple[SourceFile, ...]
    schema: Schema

    @classmethod
    def open(cls, source: str | Path, schema: Schema) -> "StreamSource":
        """List the files in ``source``, a folder or a pattern, local or remote, and read the first videos of one.

        Raises MissingInputError for no files, DataError when they are not what ``schema`` says, UsageError and
        UnavailableError as `data.location.locate` does.
        """
        location = locate(source)
        files = list_files(location)
        for file in files:
            if next(read_videos(location.path(file.name), schema, filesystem=location.filesystem), None) is not None:
                return cls(location.uri, tuple(files), schema)
        raise DataError(location.root, f"none of its {len(files)} TFRecord files holds a video")

    @property
    def fingerprint(self) -> str:
        """Hash of the files' names and sizes and of the schema."""
        digest = hashlib.sha256(self.schema.model_dump_json().encode())
        for file in self.files:
            digest.update(f"\0{file.name}\0{file.size}".encode())
        return digest.hexdigest()

    def groups(self, seed: int, epoch: int) -> list[list[SourceFile]]:
        """All files in the epoch's order, those that one task reads together."""
        order = np.random.default_rng(derive_seed(seed, "files", epoch)).permutation(len(self.files))
        return pack([self.files[number] for number in order.tolist()])
