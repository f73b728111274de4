"""TFRecords to Arrow shards as a Ray Data pipeline: one task per group of source files, on any number of nodes."""

import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.data

from dmlray.data.claim import claim, finish
from dmlray.data.find_schema import find_schema
from dmlray.data.ingest import GroupRecord, GroupTask, OnBadRecord, convert_group
from dmlray.data.location import Location, list_files, locate
from dmlray.data.manifest import Manifest, SourceFile
from dmlray.data.plan import ConversionPlan, plan_conversion
from dmlray.data.schema import Schema
from dmlray.data.splits import assign
from dmlray.errors import DataError, DmlrayError


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

    @property
    def unreadable_bytes(self) -> int:
        """Bytes of all sources that belong to no record that could be told, see ``BadRecord.lost_bytes``."""
        return sum(manifest.unreadable_bytes for manifest in self.manifests.values())


def convert(
    source: str | Path,
    out: Path,
    schema: Schema | None = None,
    splits: Sequence[str] = (),
    on_bad_record: OnBadRecord = "fail",
    progress: Callable[[int, int], None] | None = None,
) -> ConversionReport:
    """Convert the TFRecords in ``source`` into the datasets ``out``/train, validation, test; Ray must be initialised.

    ``schema`` None takes ``schema.yaml`` of the source folder, else guesses, see ``data.find_schema``. ``splits`` are
    rules of ``data.splits``. ``progress`` is told (groups of files done, groups in all). Run again after an
    interruption, it does what is missing and the bytes are the same.

    Raises MissingInputError for no TFRecords, UsageError for rules that do not fit or an ``out`` that holds something
    else, BusyError while another process converts into it, DataError naming file, record and byte offset for a bad
    record, StorageError when the disk refuses.
    """
    location = locate(source)
    files = list_files(location)
    chosen = assign(files, splits)
    plan = plan_conversion(schema or find_schema(location, files), chosen)
    with claim(out, plan):
        records: dict[tuple[str, int], GroupRecord] = {}
        tasks = [_task(location, out, plan, number, on_bad_record) for number in range(len(plan.groups))]
        for number, record in _run(tasks):
            group = plan.groups[number]
            records[group.split, group.number] = record
            if progress is not None:
                progress(len(records), len(tasks))
        check_unchanged(location, [file for group in plan.groups for file in group.files])
        shards = {
            split: [shard for group in plan.of_split(split) for shard in records[split, group.number].shards]
            for split in chosen
        }
        return ConversionReport(out, {split: finish(out, split, plan.contents, shards[split]) for split in chosen})


def check_unchanged(location: Location, files: Sequence[SourceFile]) -> None:
    """A file that grew or shrank meanwhile was perhaps read in part, and at a record's end that looks whole."""
    now = {file.name: file.size for file in list_files(location)}
    for file in files:
        if now.get(file.name) != file.size:
            found = f"now {now[file.name]}" if file.name in now else "and is gone now"
            raise DataError(location.path(file.name), f"changed during the conversion: {file.size} bytes, {found}")


def _task(location: Location, out: Path, plan: ConversionPlan, number: int, on_bad_record: OnBadRecord) -> GroupTask:
    group = plan.groups[number]
    return GroupTask(
        source=location.uri,
        folder=out.absolute() / group.split,
        contents=plan.contents,
        plan=group,
        on_bad_record=on_bad_record,
    )


def _run(tasks: Sequence[GroupTask]) -> Iterator[tuple[int, GroupRecord]]:
    """Number and account of each task as it ends; the first failure is raised as itself and stops the rest."""
    items = [{"number": number, "task": task.model_dump_json()} for number, task in enumerate(tasks)]
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it tells of every execution on stderr
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.op_resource_reservation_enabled = False  # with it, Ray 2.60 leaves one of two CPUs idle half of the time
    with ray.data.DataContext.current(context):
        for row in ray.data.from_items(items, override_num_blocks=len(items)).map(_convert).iter_rows():
            if row["failure"]:
                raise pickle.loads(row["failure"])
            yield row["number"], GroupRecord.model_validate_json(row["record"])


def _convert(item: dict[str, Any]) -> dict[str, Any]:
    """In a worker. Our own errors travel as values: raised, Ray Data would wrap them and log a traceback."""
    record, failure = "", b""
    try:
        record = convert_group(GroupTask.model_validate_json(item["task"])).model_dump_json()
    except DmlrayError as error:
        failure = pickle.dumps(error)
    return {"number": item["number"], "record": record, "failure": failure}
