"""A converted data set to another filesystem: shards first, each split's manifest last, so that it says: finished."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dmlray.data.dataset import SPLITS, Dataset
from dmlray.data.manifest import MANIFEST
from dmlray.errors import UsageError
from dmlray.remote import Address, Remote

_AT_ONCE = 8


def check_free(out: Address) -> None:
    """Try the place, before anything is converted. Raises UsageError where there is a data set already."""
    remote = Remote(out)
    remote.probe()
    for split in SPLITS:
        if remote.get(f"{split}/{MANIFEST}") is not None:
            raise UsageError(f"{remote} holds a data set already: choose another place or delete it")


def upload_conversion(folder: Path, out: Address, progress: Callable[[int, int], None] | None = None) -> None:
    """Copy every split of a conversion that has ended; ``progress`` is told (shards done, shards in all).

    Raises StorageError where a shard is missing here, as where other nodes wrote it to a disk of their own, and
    UnavailableError when the other filesystem does not answer.
    """
    splits = [Dataset.open(folder / split) for split in SPLITS if (folder / split / MANIFEST).is_file()]
    total, done = sum(len(split.manifest.shards) for split in splits), 0
    for split in splits:
        remote = Remote(out / split.path.name)
        files = [name for shard in split.manifest.shards for name in (shard.file, shard.quarantine) if name]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="upload") as threads:
            for name, sent in [(name, threads.submit(remote.put, name, split.path / name)) for name in files]:
                sent.result()
                done += name.count("/") == 0
                if progress is not None:
                    progress(done, total)
        remote.put(MANIFEST, split.path / MANIFEST)
