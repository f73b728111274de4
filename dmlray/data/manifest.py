"""What a converted dataset is made of: ``manifest.json`` beside the shards, written last, so that it says: finished."""

import hashlib
from pathlib import Path, PurePath
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, NonNegativeInt, ValidationError

from dmlray.atomic import write_text
from dmlray.config import Config
from dmlray.config.problem import first_problem
from dmlray.data.schema import Schema
from dmlray.errors import MissingInputError, StorageError
from dmlray.remote import Address, Place, Remote

MANIFEST = "manifest.json"
Document = TypeVar("Document", bound=Config)


def _in_its_folder(name: str) -> str:
    if PurePath(name).name != name or name == "..":
        raise ValueError(f"names a shard {name!r} outside of its folder")
    return name


class SourceFile(Config):
    """A TFRecord file: ``name`` relative to the source folder, ``size`` in bytes."""

    name: str
    size: NonNegativeInt


class SourceRecords(SourceFile):
    """A TFRecord file that was read: ``records`` in all, of which ``quarantined`` gave no video.

    Where the framing was lost, what was skipped up to the next record counts as one, and as ``unreadable_bytes``.
    """

    records: NonNegativeInt
    quarantined: NonNegativeInt
    unreadable_bytes: NonNegativeInt = 0


class ShardRecord(Config):
    """One Arrow shard: its ``videos`` come from ``sources`` in order; ``blocks`` are videos per record batch."""

    file: Annotated[str, AfterValidator(_in_its_folder)]
    videos: NonNegativeInt
    frames: NonNegativeInt
    blocks: tuple[NonNegativeInt, ...]
    bytes: NonNegativeInt
    crc32c: NonNegativeInt
    sources: tuple[SourceRecords, ...]
    quarantine: str | None

    @property
    def quarantined(self) -> int:
        """Records that gave no video."""
        return sum(source.quarantined for source in self.sources)


class Manifest(Config):
    """A dataset. Its videos are those of the shards in order.

    ``duplicate_ids`` is the number of videos less the number of different ids: YouTube-8M's ids are anonymised to four
    characters, so an id alone need not name a video.
    """

    format: Literal[1] = 1
    dmlray: str
    contents: Schema
    split: str
    videos: NonNegativeInt
    duplicate_ids: NonNegativeInt
    shards: tuple[ShardRecord, ...]

    @property
    def quarantined(self) -> int:
        """Records that gave no video."""
        return sum(shard.quarantined for shard in self.shards)

    @property
    def unreadable_bytes(self) -> int:
        """Bytes of the sources that belong to no record that could be told."""
        return sum(source.unreadable_bytes for shard in self.shards for source in shard.sources)


def write_document(path: Path, document: Config) -> None:
    """Write as indented JSON, whole or not at all; the same document gives the same bytes."""
    write_text(path, document.model_dump_json(indent=1) + "\n")


def read_document(path: Path, kind: type[Document]) -> Document:
    """Read what ``write_document`` wrote. Raises FileNotFoundError, and StorageError when it is something else."""
    return parse_document(path, path.read_bytes(), kind)


def parse_document(path: str | Path, data: bytes, kind: type[Document]) -> Document:
    """What ``write_document`` wrote to ``path``. Raises StorageError when it is something else."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        found = first_problem(error)
        problem = f"is damaged or of another version ({found.field or 'document'}: {found.said})"
        raise StorageError(path, problem) from error


def read_manifest(folder: Place) -> tuple[Manifest, str]:
    """The manifest in ``folder`` and its fingerprint, the first half of its SHA-256 in hex.

    Raises MissingInputError when there is none, StorageError when the conversion did not finish or it is damaged,
    UnavailableError when nothing answers at an address.
    """
    data = Remote(folder).get(MANIFEST) if isinstance(folder, Address) else _local_manifest(folder)
    if data is None:
        raise MissingInputError(folder, f"converted dataset ({MANIFEST}, which `dmlray convert` writes)")
    manifest = parse_document(folder / MANIFEST, data, Manifest)
    if manifest.videos != sum(shard.videos for shard in manifest.shards):
        raise StorageError(folder / MANIFEST, "is damaged: its shards hold another number of videos than it says")
    return manifest, hashlib.sha256(data).hexdigest()[:32]


def _local_manifest(folder: Path) -> bytes | None:
    try:
        return (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        if any(folder.glob("shard-*")):
            raise StorageError(
                folder, "was not converted to the end: run `dmlray convert` again to finish it"
            ) from error
        return None
