"""A converted dataset: its videos by index, straight from the memory-mapped shards."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dmlray.data.blocks import Block, address_table, map_shard
from dmlray.data.cache import CachedShards
from dmlray.data.manifest import MANIFEST, Manifest, read_manifest
from dmlray.data.ragged import Ragged, concatenate
from dmlray.data.schema import Schema
from dmlray.data.shards import file_crc
from dmlray.errors import MissingInputError, StorageError
from dmlray.remote import Address, Place

SPLITS = ("train", "validation", "test")
_MAGIC = b"ARROW1"


class Dataset:
    """The videos of one split. Pickles as its place; shards are mapped when first touched.

    ``path`` is the folder of its shards: of one that lies elsewhere, this node's cache, to which they come when needed.
    """

    def __init__(self, path: Path, manifest: Manifest, fingerprint: str, cached: CachedShards | None = None) -> None:
        self.path, self.manifest, self.fingerprint, self._cached = path, manifest, fingerprint, cached
        sizes = [size for shard in manifest.shards for size in shard.blocks]
        self._starts = np.cumsum([0, *sizes])  # first video of each block, then the end
        self._first_blocks = np.cumsum([0, *(len(shard.blocks) for shard in manifest.shards)])  # of each shard
        self._blocks: list[Block | None] = [None] * len(sizes)
        self._addresses = address_table(manifest.contents, len(sizes))
        self._mapping = Lock()

    @classmethod
    def open(cls, path: Place) -> "Dataset":
        """Open the folder that holds ``manifest.json``; every shard must be there, in its full size, with its footer.

        Of an address (``s3://``) only the manifest is read. Raises MissingInputError when there is no dataset,
        StorageError when it is unfinished or damaged, UnavailableError when nothing answers there.
        """
        manifest, fingerprint = read_manifest(path)
        if isinstance(path, Address):
            cached = CachedShards(path, manifest, fingerprint)
            return cls(cached.folder, manifest, fingerprint, cached)
        for shard in manifest.shards:
            _check_shape(path / shard.file, shard.bytes)
        return cls(path, manifest, fingerprint)

    def __reduce__(self) -> tuple[object, tuple[Place]]:
        return Dataset.open, (self.place,)

    @property
    def place(self) -> Place:
        """What it was opened by: a folder, or an address."""
        return self.path if self._cached is None else self._cached.uri

    def bring(self) -> None:
        """Fetch all shards that lie elsewhere, at once rather than one by one as they are touched.

        Raises StorageError where one is damaged or there is no room, UnavailableError when nothing answers.
        """
        if self._cached is not None:
            self._cached.bring(self.manifest.shards)

    def __len__(self) -> int:
        return self.manifest.videos

    @property
    def schema(self) -> Schema:
        """Modalities, widths, classes."""
        return self.manifest.contents

    @cached_property
    def ids(self) -> Sequence[str]:
        """Id of every video. Different videos may share one: see ``manifest.duplicate_ids``."""
        return list(pa.chunked_array([block.ids for block in self._all_blocks()], pa.string()).to_pylist())

    @cached_property
    def truth(self) -> Ragged:
        """Labels of every video."""
        return concatenate([block.labels for block in self._all_blocks()])

    def labels(self, index: int) -> NDArray[np.int64]:
        """Labels of one video, ascending or not, as they were in the TFRecord."""
        ((block, row),) = self.locate(np.array([index]))
        return block.labels.list_of(row)

    def locate(self, indices: NDArray[np.int64]) -> list[tuple[Block, int]]:
        """Block and row of each video. Raises IndexError outside 0 to len - 1, StorageError on a damaged shard."""
        numbers, rows, _ = self.places(indices)
        return [(self.block(number), row) for number, row in zip(numbers.tolist(), rows.tolist(), strict=True)]

    def places(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.void]]:
        """Of each of B videos the number of its block, its row there, and the block's addresses (a BlockAddresses).

        Raises as ``locate`` does. The addresses hold as long as this dataset lives.
        """
        if len(indices) and (indices.min() < 0 or indices.max() >= len(self)):
            raise IndexError(f"videos are numbered 0 to {len(self) - 1}, asked for {indices.min()} to {indices.max()}")
        numbers = np.searchsorted(self._starts, indices, side="right") - 1
        addresses = self._addresses[numbers]
        if not addresses["id_offsets"].all():  # the first time in some of these blocks
            for number in set(numbers.tolist()):
                self.block(number)
            addresses = self._addresses[numbers]
        return numbers, indices - self._starts[numbers], addresses

    def verify(self) -> None:
        """Read everything and compare checksums. Raises StorageError naming the first damaged shard."""
        self.bring()
        for shard in self.manifest.shards:
            if file_crc(self.path / shard.file) != shard.crc32c:
                raise StorageError(self.path / shard.file, "is damaged: its CRC32C is not the manifest's")

    def block(self, number: int) -> Block:
        """Block ``number`` of the dataset, mapped. Raises StorageError when its shard is damaged."""
        block = self._blocks[number]
        if block is not None:
            return block
        with self._mapping:
            block = self._blocks[number]
            return self._map(number) if block is None else block

    def _map(self, number: int) -> Block:
        """Map the shard of block ``number``, once. Blocks are there for other threads when their addresses are."""
        shard = int(np.searchsorted(self._first_blocks, number, side="right")) - 1
        first = int(self._first_blocks[shard])
        if self._cached is not None:
            self._cached.bring([self.manifest.shards[shard]])
        mapped = map_shard(self.path, self.manifest.shards[shard], self.schema)
        for offset, one in enumerate(mapped):
            self._addresses[first + offset] = one.addresses()
        self._blocks[first : first + len(mapped)] = mapped
        return mapped[number - first]

    def _all_blocks(self) -> Iterator[Block]:
        return (self.block(number) for number in range(len(self._blocks)))


def open_splits(path: Place, *, train: bool = True) -> dict[str, Dataset]:
    """The splits in a folder that ``dmlray convert`` wrote: ``train`` and ``validation``, and ``test`` where it exists.

    ``path`` may be an address (``s3://``): its shards come to this node's cache. ``train`` False leaves ``train`` out,
    there or not. Raises MissingInputError when a needed split is not there, StorageError when one is unfinished,
    damaged or has another schema than the first, UnavailableError when nothing answers at an address.
    """
    wanted, needed = (SPLITS, SPLITS[:2]) if train else (SPLITS[1:], SPLITS[1:2])
    found = {split: Dataset.open(path / split) for split in wanted if (path / split).is_dir()}
    for split in needed:
        if split not in found:
            raise MissingInputError(path / split, f"converted dataset ({MANIFEST}, which `dmlray convert` writes)")
    for split, dataset in found.items():
        if dataset.schema != found[needed[0]].schema:
            raise StorageError(path / split / MANIFEST, f"has another schema than the {needed[0]} split")
    return found


def _check_shape(path: Path, size: int) -> None:
    try:
        with path.open("rb") as file:
            found = file.seek(0, 2)
            if found != size:
                raise StorageError(path, f"has {found} bytes where the manifest says {size}")
            file.seek(-len(_MAGIC), 2)
            if file.read() != _MAGIC:
                raise StorageError(path, "does not end like an Arrow file")
    except FileNotFoundError as error:
        raise StorageError(path, "is missing, though the manifest names it") from error
