"""Which source files are converted together: pure, and the same in every run."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Literal

from dmlray.config import Config
from dmlray.data.manifest import SourceFile
from dmlray.data.schema import Schema

SHARD_BYTES = 64 << 20
GROUP_FILES = 1000  # opening a file costs more than reading a small one, so thousands of tiny ones share workers too


class GroupPlan(Config):
    """Neighbouring source files, in order, that one task converts: one shard, or several if a file is large."""

    split: str
    number: int
    files: tuple[SourceFile, ...]

    @property
    def name(self) -> str:
        """Name of its first shard without a suffix."""
        return f"shard-{self.number:05d}"


class ConversionPlan(Config):
    """All that decides what a conversion writes: two equal plans give the same bytes."""

    format: Literal[1] = 1
    contents: Schema
    groups: tuple[GroupPlan, ...]

    def of_split(self, split: str) -> list[GroupPlan]:
        """Groups of one split, in order."""
        return [group for group in self.groups if group.split == split]


def plan_conversion(schema: Schema, splits: Mapping[str, Sequence[SourceFile]]) -> ConversionPlan:
    """Pack each split's files, in order, into groups of about ``SHARD_BYTES``; a larger file is a group of its own."""
    groups = [
        GroupPlan(split=split, number=number, files=tuple(files))
        for split, sources in splits.items()
        for number, files in enumerate(pack(sources))
    ]
    return ConversionPlan(contents=schema, groups=tuple(groups))


def difference(old: ConversionPlan, new: ConversionPlan) -> str | None:
    """What of the source is not as it was, in words that name a file; None if only splits or schema differ."""
    before, now = ({file.name: file.size for group in plan.groups for file in group.files} for plan in (old, new))
    for name in sorted(before | now):
        if name not in now:
            return f"{name} is not among the files now"
        if name not in before:
            return f"{name} was not among the files then"
        if before[name] != now[name]:
            return f"{name} had {before[name]} bytes then and has {now[name]} now"
    return None


def pack(files: Sequence[SourceFile], limit: int = SHARD_BYTES) -> list[list[SourceFile]]:
    """Neighbours together until the next file would exceed ``limit`` bytes or ``GROUP_FILES``."""
    groups: list[list[SourceFile]] = []
    size = 0
    for file in files:
        if not groups or size + file.size > limit or len(groups[-1]) == GROUP_FILES:
            groups.append([])
            size = 0
        groups[-1].append(file)
        size += file.size
    return groups


def is_shard_name(name: str) -> bool:
    """Whether a source file looks like a TFRecord: not hidden, and ``.tfrecord`` in its name."""
    return ".tfrecord" in PurePosixPath(name).name and not PurePosixPath(name).name.startswith(".")
