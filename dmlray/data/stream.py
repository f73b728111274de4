"""Batches from a Ray Data stream of TFRecords or Arrow shards: for training on more than the disks hold.

Each epoch reads every file once, in an order of its own; two tasks, which need no CPU of their own and so never wait
for a trial to end, read ahead. All that waits lies in Ray's object store, in small blocks and bounded.
"""

import logging
import pickle
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data

from dmlray.config import FramesConfig
from dmlray.data.arrow_files import read_shard
from dmlray.data.batch import Batch, Collator
from dmlray.data.location import locate, reached
from dmlray.data.reader import read_files
from dmlray.data.schema import Schema
from dmlray.data.shards import arrow_schema, frame_bytes, record_batch
from dmlray.data.shuffle import bucketed
from dmlray.data.stream_source import StreamFile, StreamSource
from dmlray.data.window import Mixed, mixed
from dmlray.errors import DataError, DmlrayError
from dmlray.seeding import derive_seed

READERS = 2  # tasks at once per trial
BLOCK_BYTES = 16 << 20
STORE_BYTES = 128 << 20  # of Ray's object store that one trial may fill
WINDOW_BYTES = 256 << 20  # of a trial's own memory, if every video is as long as the schema allows
WINDOW_VIDEOS = 8192
_FAILURE = "failure"


@dataclass(frozen=True)
class RayStream:
    """The training split of a trial, see `train.inputs.TrainingStream`."""

    source: StreamSource

    @property
    def fingerprint(self) -> str:
        """Of the files."""
        return self.source.fingerprint

    def batches(
        self,
        batch_size: int,
        *,
        frames: FramesConfig,
        modalities: tuple[str, ...] | None,
        seed: int,
        bucketing: bool,
        pinned: bool,
    ) -> "StreamedBatches":
        """Batches of all videos, shuffled; arguments as those of `data.batch.Batches`."""
        collator = Collator(self.source.schema, frames, modalities, seed, pinned)
        return StreamedBatches(self.source, batch_size, collator, seed, bucketing)


class StreamedBatches:
    """Every video of the source once an epoch; the epoch depends on (seed, epoch) and the files alone."""

    def __init__(
        self, source: StreamSource, batch_size: int, collator: Collator, seed: int, bucketing: bool = False
    ) -> None:
        self._source, self._batch_size, self._collator = source, batch_size, collator
        self._seed, self._bucketing = seed, bucketing

    def epoch(self, epoch: int) -> Generator[Batch, None, None]:
        """The batches of one epoch. ``indices`` of a batch are positions in the epoch.

        Raises DataError naming file, record and byte for a bad record, or a file that is not as long as it was;
        StorageError naming a shard that is damaged; MissingInputError for a file that is gone.
        """
        size, random = self._batch_size, np.random.default_rng(derive_seed(self._seed, "window", epoch))
        window = max(4 * size, window_videos(self._source.schema))
        for part in mixed(_record_batches(self._source, self._seed, epoch), self._source.schema, window, size, random):
            order = self._order(part, epoch)
            for start in range(0, part.ready, size):
                yield from self._collator.batches(part.window, [order[start : start + size]], epoch)

    def _order(self, part: Mixed, epoch: int) -> np.typing.NDArray[np.int64]:
        indices = np.arange(part.first, part.first + part.ready)
        if not self._bucketing:
            return indices
        lengths = self._collator.lengths(part.window, indices)
        return indices[bucketed(lengths, self._batch_size, self._seed, epoch, part.first)]


def window_videos(schema: Schema) -> int:
    """How many videos are mixed at once."""
    frames = schema.max_frames if schema.level == "frame" else 1
    longest = frames * sum(frame_bytes(modality) for modality in schema.modalities)
    return max(2, min(WINDOW_VIDEOS, WINDOW_BYTES // longest))


def _record_batches(source: StreamSource, seed: int, epoch: int) -> Iterator[pa.RecordBatch]:
    """The videos of all files in the epoch's order."""
    columns = arrow_schema(source.schema).names
    table: Any  # a pa.Table
    for table in _dataset(source, seed, epoch).iter_batches(batch_size=None, batch_format="pyarrow"):
        failures = table.column(_FAILURE).drop_null()
        if len(failures):
            raise pickle.loads(failures[0].as_py())
        yield from table.select(columns).to_batches()


def _dataset(source: StreamSource, seed: int, epoch: int) -> ray.data.Dataset:
    groups = source.groups(seed, epoch)
    items = [{"files": [file.model_dump() for file in group]} for group in groups]
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it tells of every execution on stderr
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.target_max_block_size = BLOCK_BYTES
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ray.data.ExecutionResources(object_store_memory=STORE_BYTES)
    read: Any = _read  # Ray's annotation has no room for fn_args
    with ray.data.DataContext.current(context):
        return ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            read,
            fn_args=(source.uri, source.schema.model_dump_json()),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=0,
            compute=ray.data.TaskPoolStrategy(size=min(READERS, len(items))),
        )


def _read(item: pa.Table, uri: str, schema_json: str) -> Iterator[pa.Table]:
    """In a worker: the videos of one group of files. Our own errors travel as values, as in `data.convert`."""
    schema = Schema.model_validate_json(schema_json)
    columns = arrow_schema(schema).append(pa.field(_FAILURE, pa.binary()))
    try:
        for files in item.column("files").to_pylist():
            for batch in _videos(uri, [StreamFile.model_validate(file) for file in files], schema):
                none = pa.nulls(len(batch), pa.binary())
                yield pa.Table.from_arrays([*batch.columns, none], schema=columns)
    except DmlrayError as error:
        cells: dict[str, Any] = {name: pa.nulls(1, columns.field(name).type) for name in columns.names}
        yield pa.table(cells | {_FAILURE: pa.array([pickle.dumps(error)], pa.binary())}, schema=columns)


def _videos(uri: str, files: list[StreamFile], schema: Schema) -> Iterator[pa.RecordBatch]:
    location = locate(uri)
    with reached(location):
        for file in files:
            if file.crc32c is not None:
                path = location.path(file.name)
                yield from read_shard(path, file.size, file.crc32c, schema, location.filesystem)
        files = [file for file in files if file.crc32c is None]
        for file in files:
            _check_size(location.path(file.name), file.size, location.filesystem)
        for block, _ in read_files([location.path(f.name) for f in files], schema, filesystem=location.filesystem):
            if len(block):
                yield record_batch(block, schema)


def _check_size(path: str, size: int, filesystem: pa.fs.FileSystem | None) -> None:
    """A file that grew or shrank would not give the videos of the epoch before. A missing one the reader names."""
    found = (filesystem or pa.fs.LocalFileSystem()).get_file_info(path)
    if found.is_file and found.size != size:
        raise DataError(path, f"changed since it was listed: {size} bytes then, now {found.size}")
