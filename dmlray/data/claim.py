"""The folder of a conversion: whose it is, what a killed run left in it, and its manifests."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from dmlray import __version__
from dmlray.data.blocks import map_shard
from dmlray.data.manifest import MANIFEST, Manifest, ShardRecord, read_document, write_document
from dmlray.data.plan import ConversionPlan, difference
from dmlray.data.schema import Schema
from dmlray.errors import DataError, UsageError
from dmlray.exclusive import exclusive
from dmlray.failpoints import reach

PLAN = "conversion.json"
LOCK = ".conversion.lock"


@contextmanager
def claim(out: Path, plan: ConversionPlan) -> Iterator[None]:
    """Hold ``out`` for this plan alone, a new folder or the plan's own, without what a killed run left half-written.

    Raises UsageError when the folder holds something else, BusyError while another process converts into it.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} must be a folder, found a file")
    if not (out / PLAN).is_file() and out.exists() and any(not _is_ours(entry) for entry in out.iterdir()):
        raise UsageError(f"{out} is not empty and holds no conversion: choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    with exclusive(out / LOCK, f"{out} is being converted into"):
        if (out / PLAN).is_file():
            _check_same(out, plan)
        else:
            write_document(out / PLAN, plan)
        for entry in out.rglob(".*.tmp"):
            entry.unlink(missing_ok=True)
        yield


def _check_same(out: Path, plan: ConversionPlan) -> None:
    found = read_document(out / PLAN, ConversionPlan)
    if found == plan:
        return
    changed = difference(found, plan)
    if changed is not None:
        what = f"of other source files: {changed}"
    else:
        what = "under another schema" if found.contents != plan.contents else "with other splits"
    raise UsageError(f"{out} holds a conversion {what}. Choose another folder or delete it")


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
    reach("before-manifest")
    write_document(out / split / MANIFEST, manifest)
    return manifest


def _is_ours(entry: Path) -> bool:
    return entry.name == LOCK or (entry.name.startswith(".") and entry.name.endswith(".tmp"))
