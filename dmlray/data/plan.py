"""Which source files become which shard: pure, and the same in every run."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal

from dmlray.config import Config
from dmlray.data.manifest import SourceFile
from dmlray.data.schema import Schema

SHARD_BYTES = 64 << 20
SHARD_FILES = 1000  # opening a file costs more than reading a small one, so thousands of tiny ones share workers too


class ShardPlan(Config):
    """One shard: ``files`` in order."""

    split: str
    number: int
    files: tuple[SourceFile, ...]

    @property
    def name(self) -> str:
        """Its name without a suffix."""
        return f"shard-{self.number:05d}"


class ConversionPlan(Config):
    """All that decides what a conversion writes: two equal plans give the same bytes."""

    format: Literal[1] = 1
    contents: Schema
    shards: tuple[ShardPlan, ...]

    def of_split(self, split: str) -> list[ShardPlan]:
        """Shards of one split, in order."""
        return [shard for shard in self.shards if shard.split == split]


def plan_conversion(schema: Schema, splits: Mapping[str, Sequence[SourceFile]]) -> ConversionPlan:
    """Pack each split's files, in order, into shards of about ``SHARD_BYTES``; a larger file is a shard of its own."""
    shards = [
        ShardPlan(split=split, number=number, files=tuple(files))
        for split, sources in splits.items()
        for number, files in enumerate(pack(sources))
    ]
    return ConversionPlan(contents=schema, shards=tuple(shards))


def pack(files: Sequence[SourceFile]) -> list[list[SourceFile]]:
    """Neighbours together until the next file would exceed ``SHARD_BYTES`` or ``SHARD_FILES``."""
    groups: list[list[SourceFile]] = []
    size = 0
    for file in files:
        if not groups or size + file.size > SHARD_BYTES or len(groups[-1]) == SHARD_FILES:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += file.size
    return groups


def is_shard_name(name: str) -> bool:
    """Whether a source file looks like a TFRecord: not hidden, and ``.tfrecord`` in its name."""
    return ".tfrecord" in PurePosixPath(name).name and not PurePosixPath(name).name.startswith(".")
