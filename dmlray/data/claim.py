"""The folder of a conversion: whose it is, what a killed run left in it, and its manifests."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dmlray import __version__
from dmlray.data.blocks import map_shard
from dmlray.data.manifest import MANIFEST, Manifest, ShardRecord, read_document, write_document
from dmlray.data.plan import ConversionPlan
from dmlray.data.schema import Schema
from dmlray.errors import DataError, UsageError

PLAN = "conversion.json"


def claim(out: Path, plan: ConversionPlan) -> None:
    """Make ``out`` the folder of this plan, or find that it is already, and remove what a killed run left half-written.

    Raises UsageError when the folder holds something else.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} must be a folder, found a file")
    path = out / PLAN
    if path.is_file():
        found = read_document(path, ConversionPlan)
        if found != plan:
            what = "under another schema" if found.contents != plan.contents else "of other source files or splits"
            raise UsageError(f"{out} holds a conversion {what}: choose another folder or delete it")
    elif out.exists() and any(not _is_leftover(entry) for entry in out.iterdir()):
        raise UsageError(f"{out} is not empty and holds no conversion: choose another folder")
    else:
        write_document(path, plan)
    for entry in out.rglob(".*.tmp"):
        entry.unlink(missing_ok=True)


def finish(out: Path, split: str, schema: Schema, shards: Sequence[ShardRecord]) -> Manifest:
    """Write the manifest of a split whose shards are all there. Raises DataError when they hold no video."""
    videos = sum(shard.videos for shard in shards)
    if not videos:
        raise DataError(shards[0].sources[0].name, f"no file of the {split} split holds a usable record")
    ids = [block.ids for shard in shards for block in map_shard(out / split, shard, schema)]
    manifest = Manifest(
        dmlray=__version__,
        contents=schema,
        split=split,
        videos=videos,
        duplicate_ids=videos - pc.count_distinct(pa.chunked_array(ids)).as_py(),
        shards=tuple(shards),
    )
    write_document(out / split / MANIFEST, manifest)
    return manifest


def _is_leftover(entry: Path) -> bool:
    return entry.name.startswith(".") and entry.name.endswith(".tmp")
