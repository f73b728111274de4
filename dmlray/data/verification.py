"""Whether converted data sets are still what the conversion wrote, to the last byte."""

from pathlib import Path

from dmlray.config import Config
from dmlray.data.claim import PLAN
from dmlray.data.dataset import SPLITS, Dataset
from dmlray.data.manifest import MANIFEST, read_document
from dmlray.data.plan import ConversionPlan
from dmlray.data.quarantine import count_quarantined
from dmlray.errors import MissingInputError, StorageError


class VerifiedSplit(Config):
    """A split whose bytes are those of its manifest; ``quarantined`` records of its sources gave no video."""

    path: Path
    videos: int
    shards: int
    size_bytes: int
    quarantined: int


def verify_conversion(folder: Path) -> list[VerifiedSplit]:
    """Read every byte of the splits in ``folder``, or of the one that it is.

    Raises MissingInputError when there is none, StorageError naming the first file that is missing or damaged, or a
    split whose conversion did not end.
    """
    plan = folder / PLAN
    if plan.is_file():
        splits = dict.fromkeys(group.split for group in read_document(plan, ConversionPlan).groups)
        return [_verify(folder / split) for split in splits]
    paths = [path for path in (folder, *(folder / split for split in SPLITS)) if (path / MANIFEST).is_file()]
    if not paths:
        raise MissingInputError(folder, f"converted data set ({MANIFEST})")
    return [_verify(path) for path in paths]


def _verify(path: Path) -> VerifiedSplit:
    dataset = Dataset.open(path)
    dataset.verify()
    shards = dataset.manifest.shards
    for shard in shards:
        if shard.quarantine is not None and count_quarantined(path / shard.quarantine) != shard.quarantined:
            raise StorageError(path / shard.quarantine, "holds another number of records than the manifest says")
    size = sum(shard.bytes for shard in shards)
    quarantined = dataset.manifest.quarantined
    return VerifiedSplit(path=path, videos=len(dataset), shards=len(shards), size_bytes=size, quarantined=quarantined)
