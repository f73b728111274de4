"""TFRecords to Arrow shards as a Ray Data pipeline: one task per shard, on any number of nodes."""

import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.data

from dmlray.data.claim import claim, finish
from dmlray.data.ingest import OnBadRecord, ShardTask, convert_shard
from dmlray.data.inspection import inspect_shards
from dmlray.data.location import Location, list_files, locate
from dmlray.data.manifest import Manifest, ShardRecord, SourceFile
from dmlray.data.plan import ConversionPlan, plan_conversion
from dmlray.data.schema import Schema, load_schema
from dmlray.data.splits import assign
from dmlray.errors import DataError, DmlrayError

_GUESS_FILES, _GUESS_BYTES = 500, 256 << 20  # about as much is read to guess a schema


@dataclass(frozen=True)
class ConversionReport:
    """What a conversion left in ``out``: the manifest of each split, in the order train, validation, test."""

    out: Path
    manifests: dict[str, Manifest]

    @property
    def videos(self) -> int:
        """Videos of all splits."""
        return sum(manifest.videos for manifest in self.manifests.values())

    @property
    def quarantined(self) -> int:
        """Records of all splits that gave no video."""
        return sum(manifest.quarantined for manifest in self.manifests.values())


def convert(
    source: str | Path,
    out: Path,
    schema: Schema | None = None,
    splits: Sequence[str] = (),
    on_bad_record: OnBadRecord = "fail",
    progress: Callable[[int, int], None] | None = None,
) -> ConversionReport:
    """Convert the TFRecords in ``source`` into the datasets ``out``/train, validation, test; Ray must be initialised.

    ``schema`` None takes ``schema.yaml`` of the source folder, else guesses from the files, or an even sample of many,
    which may miss the largest class. ``splits`` are rules of ``data.splits``.
    ``progress`` is told (shards done, shards in all). Run again after an interruption, it does what is missing and the
    bytes are the same.

    Raises MissingInputError for no TFRecords, UsageError for rules that do not fit or an ``out`` that holds something
    else, DataError naming file, record and byte offset for a bad record, StorageError when the disk refuses.
    """
    location = locate(source)
    files = list_files(location)
    chosen = assign(files, splits)
    plan = plan_conversion(schema or _find_schema(location, files), chosen)
    claim(out, plan)
    records: dict[tuple[str, int], ShardRecord] = {}
    tasks = [_task(location, out, plan, number, on_bad_record) for number in range(len(plan.shards))]
    for number, record in _run(tasks):
        shard = plan.shards[number]
        records[shard.split, shard.number] = record
        if progress is not None:
            progress(len(records), len(tasks))
    return ConversionReport(
        out,
        {
            split: finish(out, split, plan.contents, [records[split, shard.number] for shard in plan.of_split(split)])
            for split in chosen
        },
    )


def _find_schema(location: Location, files: Sequence[SourceFile]) -> Schema:
    described = Path(location.root) / "schema.yaml"
    if location.filesystem is None and described.is_file():
        return load_schema(described)
    step = 1 + max(len(files) // _GUESS_FILES, sum(file.size for file in files) // _GUESS_BYTES)
    paths = [location.path(file.name) for file in files[::step]]
    found = inspect_shards(paths, filesystem=location.filesystem)
    if found.data_schema is None:
        raise DataError(location.root, f"{found.unguessed}; give --schema")
    return found.data_schema


def _task(location: Location, out: Path, plan: ConversionPlan, number: int, on_bad_record: OnBadRecord) -> ShardTask:
    shard = plan.shards[number]
    return ShardTask(
        source=location.uri,
        folder=out.absolute() / shard.split,
        contents=plan.contents,
        plan=shard,
        on_bad_record=on_bad_record,
    )


def _run(tasks: Sequence[ShardTask]) -> Iterator[tuple[int, ShardRecord]]:
    """Number and account of each task as it ends; the first failure is raised as itself and stops the rest."""
    items = [{"number": number, "task": task.model_dump_json()} for number, task in enumerate(tasks)]
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it tells of every execution on stderr
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = context.print_on_execution_start = False
    with ray.data.DataContext.current(context):
        for row in ray.data.from_items(items, override_num_blocks=len(items)).map(_convert).iter_rows():
            if row["failure"]:
                raise pickle.loads(row["failure"])
            yield row["number"], ShardRecord.model_validate_json(row["record"])


def _convert(item: dict[str, Any]) -> dict[str, Any]:
    """In a worker. Our own errors travel as values: raised, Ray Data would wrap them and log a traceback."""
    record, failure = "", b""
    try:
        record = convert_shard(ShardTask.model_validate_json(item["task"])).model_dump_json()
    except DmlrayError as error:
        failure = pickle.dumps(error)
    return {"number": item["number"], "record": record, "failure": failure}
