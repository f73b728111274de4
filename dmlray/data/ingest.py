"""One shard of a conversion: TFRecords in, an Arrow shard out, and an account of every record.

Files appear whole and in this order: quarantine, shard, account (``shard-00000.json``). A shard counts as done when its
account names the same sources and the checksum fits, so a run that was killed at any point is taken up where it was.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from dmlray.atomic import atomic_path
from dmlray.config import Config
from dmlray.data.location import locate
from dmlray.data.manifest import ShardRecord, SourceFile, SourceRecords, read_document, write_document
from dmlray.data.merge import merge
from dmlray.data.plan import ShardPlan
from dmlray.data.quarantine import write_quarantine
from dmlray.data.reader import BadRecord, VideoBlock, read_videos
from dmlray.data.schema import Schema
from dmlray.data.shards import ShardWriter, file_crc
from dmlray.errors import StorageError

OnBadRecord = Literal["fail", "quarantine"]
QUARANTINE = "quarantine"
_BLOCK_VIDEOS = {"frame": 128, "video": 1024}  # 45 MB of YouTube-8M's frames at most, 5 MB of vectors


class ShardTask(Config):
    """What one worker needs: where ``plan``'s files are, and the folder of the split."""

    source: str
    folder: Path
    contents: Schema
    plan: ShardPlan
    on_bad_record: OnBadRecord


def convert_shard(task: ShardTask) -> ShardRecord:
    """Write the shard unless it is there already; its account either way.

    Raises DataError for a bad record (with ``on_bad_record="fail"``), MissingInputError for a file that went away,
    StorageError when the disk refuses.
    """
    done = _finished(task)
    if done is not None:
        return done
    intake = _Intake(task)
    shard = task.folder / f"{task.plan.name}.arrow"
    quarantine = task.folder / QUARANTINE / shard.name
    with atomic_path(shard) as temporary:
        with ShardWriter(temporary, task.contents) as writer:
            for block in merge(intake.blocks(), _BLOCK_VIDEOS[task.contents.level]):
                writer.write(block)
        if intake.bad:
            write_quarantine(quarantine, intake.bad)
        else:
            quarantine.unlink(missing_ok=True)  # of an earlier run over other bytes
    record = ShardRecord(
        file=shard.name,
        videos=sum(writer.blocks),
        frames=writer.frames,
        blocks=tuple(writer.blocks),
        bytes=shard.stat().st_size,
        crc32c=file_crc(shard),
        sources=tuple(intake.sources),
        quarantine=f"{QUARANTINE}/{shard.name}" if intake.bad else None,
    )
    write_document(_account(task), record)
    return record


class _Intake:
    """Reads a shard's sources in order and keeps the books."""

    def __init__(self, task: ShardTask) -> None:
        self._task = task
        self._location = locate(task.source)
        self.sources: list[SourceRecords] = []
        self.bad: list[tuple[str, BadRecord]] = []

    def blocks(self) -> Iterator[VideoBlock]:
        for file in self._task.plan.files:
            bad: list[BadRecord] = []
            videos = 0
            for block in self._read(file, bad):
                videos += len(block)
                yield block
            self.bad += [(file.name, record) for record in bad]
            self.sources.append(
                SourceRecords(name=file.name, size=file.size, records=videos + len(bad), quarantined=len(bad))
            )

    def _read(self, file: SourceFile, bad: list[BadRecord]) -> Iterator[VideoBlock]:
        return read_videos(
            self._location.path(file.name),
            self._task.contents,
            filesystem=self._location.filesystem,
            block_videos=_BLOCK_VIDEOS[self._task.contents.level],
            on_bad=bad.append if self._task.on_bad_record == "quarantine" else None,
        )


def _finished(task: ShardTask) -> ShardRecord | None:
    """The account of a shard that is there in full; None where work is left."""
    try:
        record = read_document(_account(task), ShardRecord)
        if not _covers(record, task) or file_crc(task.folder / record.file) != record.crc32c:
            return None
        return record if record.quarantine is None or (task.folder / record.quarantine).is_file() else None
    except (FileNotFoundError, StorageError):
        return None  # what was damaged is made again


def _covers(record: ShardRecord, task: ShardTask) -> bool:
    if task.on_bad_record == "fail" and record.quarantined:
        return False
    return [(file.name, file.size) for file in record.sources] == [(file.name, file.size) for file in task.plan.files]


def _account(task: ShardTask) -> Path:
    return task.folder / f"{task.plan.name}.json"
