"""Shards of data sets that lie on another filesystem, kept on this node's disk within a bound.

``<cache>/<fingerprint>/`` holds one split's shards. A shard appears whole, and only with the CRC32C of its manifest.
Room for a split is set aside before its first shard comes: the least recently used splits go, but for those that a
living process has opened. Processes that want the same split fetch it once.
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from dmlray.atomic import write_text
from dmlray.data.manifest import MANIFEST, Manifest, ShardRecord
from dmlray.data.shards import file_crc
from dmlray.errors import ConfigError, StorageError
from dmlray.remote import Address, Remote

FOLDER, BOUND = "DMLRAY_CACHE", "DMLRAY_CACHE_GB"  # in the environment of each node
_IN_USE, _SIZE = "in-use.lock", "size"
_AT_ONCE = 8  # shards that are fetched together
_held: dict[Path, int] = {}  # descriptors with a shared lock, for as long as the process lives


def cache_folder() -> Path:
    """Where this node keeps shards: DMLRAY_CACHE, or ``dmlray`` in the user's cache folder."""
    own = os.environ.get(FOLDER)
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dmlray"


class CachedShards:
    """This node's shards of the split at ``uri``, in ``folder``."""

    def __init__(self, uri: Address, manifest: Manifest, fingerprint: str) -> None:
        self.uri, self.folder = uri, cache_folder() / fingerprint
        self._remote, self._shards = Remote(uri), len(manifest.shards)
        self._bytes = sum(shard.bytes for shard in manifest.shards)

    def bring(self, shards: Sequence[ShardRecord]) -> None:
        """Fetch those that are not here. They stay as long as this process lives.

        Raises StorageError where one is damaged or they cannot all be kept, UnavailableError when nothing answers.
        """
        if self.folder not in _held or not self.folder.is_dir():
            self._reserve()
        is_whole = len(shards) == self._shards
        if all(self._has(shard) for shard in shards) and (self.folder / MANIFEST).is_file() >= is_whole:
            return
        with _locked(self.folder / "fetch.lock"):
            for stale in self.folder.glob(".*"):  # of a process that was killed
                stale.unlink()
            missing = [shard for shard in shards if not self._has(shard)]
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="shards") as threads:
                for done in [threads.submit(self._fetch, shard) for shard in missing]:
                    done.result()
            if is_whole:  # now it is a data set of its own
                self._remote.fetch(MANIFEST, self.folder / MANIFEST)

    def _reserve(self) -> None:
        root = self.folder.parent
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root / "cache.lock"):
            is_new = not (self.folder / _SIZE).is_file()
            if is_new:
                _make_room(root, self.folder, self._bytes, self.uri)
            self.folder.mkdir(exist_ok=True)
            _hold(self.folder)
            if is_new:
                write_text(self.folder / _SIZE, str(self._bytes))

    def _has(self, shard: ShardRecord) -> bool:
        path = self.folder / shard.file
        return path.is_file() and path.stat().st_size == shard.bytes

    def _fetch(self, shard: ShardRecord) -> None:
        temporary = self.folder / f".{shard.file}.{uuid.uuid4().hex[:8]}.part"
        try:
            self._remote.fetch(shard.file, temporary)
            if temporary.stat().st_size != shard.bytes or file_crc(temporary) != shard.crc32c:
                raise StorageError(f"{self._remote}/{shard.file}", "is damaged: its CRC32C is not the manifest's")
            temporary.replace(self.folder / shard.file)
        finally:
            temporary.unlink(missing_ok=True)


def cache_bound(root: Path) -> int:
    """Bytes that the cache may take: DMLRAY_CACHE_GB, or half of what is free there and what it holds already.

    Raises ConfigError for a bound that is no positive number.
    """
    own = os.environ.get(BOUND)
    if own is None:
        return (shutil.disk_usage(root).free + sum(_sizes(root).values())) // 2
    try:
        bound = float(own)
    except ValueError:
        bound = 0.0
    if bound <= 0:
        raise ConfigError(BOUND, own, "a positive number of gigabytes")
    return int(bound * 1e9)


def _make_room(root: Path, folder: Path, needed: int, uri: str) -> None:
    """Let the least recently used splits go until ``needed`` bytes more fit. The cache's lock is held."""
    bound, sizes = cache_bound(root), _sizes(root)
    sizes.pop(folder, None)
    for old in sorted(sizes, key=lambda path: (path / _IN_USE).stat().st_mtime_ns):
        if sum(sizes.values()) + needed <= bound:
            return
        if _is_free(old):
            shutil.rmtree(old)
            del sizes[old]
    if sum(sizes.values()) + needed > bound:
        used = f" beside {sum(sizes.values()) / 1e9:.2f} GB in use" if sizes else ""
        raise StorageError(
            root,
            f"may hold {bound / 1e9:.2f} GB, and {Remote(uri)} needs {needed / 1e9:.2f}{used}: "
            f"raise {BOUND}, or train with --stream",
        )


def _sizes(root: Path) -> dict[Path, int]:
    """Bytes set aside for each split."""
    return {path.parent: int(path.read_text()) for path in root.glob(f"*/{_SIZE}") if (path.parent / _IN_USE).is_file()}


def _hold(folder: Path) -> None:
    """Keep ``folder`` from being removed as long as this process lives, and note that it was used now."""
    descriptor = os.open(folder / _IN_USE, os.O_RDWR | os.O_CREAT, 0o644)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    os.utime(descriptor)
    _held[folder] = descriptor


def _is_free(folder: Path) -> bool:
    """Whether no living process holds it. Nobody begins to while the cache's lock is held."""
    with (folder / _IN_USE).open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
