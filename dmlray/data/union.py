"""A split whose videos are those of several: their shards in one folder, linked, not copied."""

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import dmlray
from dmlray.data.dataset import Dataset
from dmlray.data.manifest import MANIFEST, Manifest, write_document


def join_splits(folder: Path, splits: Sequence[Dataset]) -> Dataset:
    """Make ``folder`` a converted split of all videos of ``splits``, one after the other; one that is there is opened.

    Symbolic links lead to the shards, so the splits must stay where they are. The folder appears whole or not at all.
    Raises StorageError where a shard is missing or damaged.
    """
    if not folder.exists():
        temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
        temporary.mkdir(parents=True)
        try:
            shards = tuple(
                shard.model_copy(update={"file": f"{split.manifest.split}-{shard.file}", "quarantine": None})
                for split in splits
                for shard in split.manifest.shards
            )
            targets = [split.path.absolute() / shard.file for split in splits for shard in split.manifest.shards]
            for shard, target in zip(shards, targets, strict=True):
                (temporary / shard.file).symlink_to(target)
            ids = [video for split in splits for video in split.ids]
            manifest = Manifest(
                dmlray=dmlray.__version__,
                contents=splits[0].schema,
                split=folder.name,
                videos=len(ids),
                duplicate_ids=len(ids) - len(set(ids)),
                shards=shards,
            )
            write_document(temporary / MANIFEST, manifest)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return Dataset.open(folder)
