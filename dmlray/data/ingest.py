"""One task of a conversion: a group of TFRecords in, Arrow shards out, and an account of every record.

Files appear whole and in this order: quarantine, shard, and last the account of the group (``shard-00000.json``). A
group counts as done when its account names the same sources and the checksums fit, so a run that was killed at any
point is taken up where it was. A group of more than ``SHARD_BYTES``, which is one large file, fills several shards.
"""

from itertools import count
from pathlib import Path
from typing import Literal

from dmlray.atomic import atomic_path
from dmlray.config import Config
from dmlray.data.intake import Intake
from dmlray.data.location import locate
from dmlray.data.manifest import ShardRecord, read_document, write_document
from dmlray.data.merge import merge
from dmlray.data.plan import SHARD_BYTES, GroupPlan
from dmlray.data.quarantine import write_quarantine
from dmlray.data.schema import Schema
from dmlray.data.shards import ShardWriter, file_crc
from dmlray.errors import StorageError
from dmlray.failpoints import reach

OnBadRecord = Literal["fail", "quarantine"]
QUARANTINE = "quarantine"
_BLOCK_VIDEOS = {"frame": 128, "video": 1024}  # 45 MB of YouTube-8M's frames at most, 5 MB of vectors


class GroupTask(Config):
    """What one worker needs: where ``plan``'s files are, and the folder of the split."""

    source: str
    folder: Path
    contents: Schema
    plan: GroupPlan
    on_bad_record: OnBadRecord
    shard_bytes: int = SHARD_BYTES


class GroupRecord(Config):
    """The shards that a group of source files became; an account of a file that fills several is a part of it each."""

    shards: tuple[ShardRecord, ...]


def convert_group(task: GroupTask) -> GroupRecord:
    """Write the group's shards unless they are there already; their account either way.

    Raises DataError for a bad record (with ``on_bad_record="fail"``), MissingInputError for a file that went away,
    StorageError when the disk refuses.
    """
    done = _finished(task)
    if done is not None:
        return done
    block_videos = _BLOCK_VIDEOS[task.contents.level]
    keeps_bad = task.on_bad_record == "quarantine"
    intake = Intake(locate(task.source), task.plan.files, task.contents, block_videos, keeps_bad)
    shards = []
    for part in count():
        shards.append(_write_shard(task, intake, part))
        reach("shard-written")
        if intake.is_finished:
            break
    _remove_stale(task, shards)
    record = GroupRecord(shards=tuple(shards))
    write_document(_account(task), record)
    return record


def _write_shard(task: GroupTask, intake: Intake, part: int) -> ShardRecord:
    path = task.folder / f"{task.plan.name}{f'-{part:03d}' if part else ''}.arrow"
    with atomic_path(path) as temporary:
        with ShardWriter(temporary, task.contents) as writer:
            for block in merge(intake.take(task.shard_bytes), _BLOCK_VIDEOS[task.contents.level]):
                writer.write(block)
                reach("block-written")
        sources, bad = intake.close_books()
        quarantine = task.folder / QUARANTINE / path.name
        if bad:
            write_quarantine(quarantine, bad)
        else:
            quarantine.unlink(missing_ok=True)  # of an earlier run over other bytes
    return ShardRecord(
        file=path.name,
        videos=sum(writer.blocks),
        frames=writer.frames,
        blocks=tuple(writer.blocks),
        bytes=path.stat().st_size,
        crc32c=file_crc(path),
        sources=sources,
        quarantine=f"{QUARANTINE}/{path.name}" if bad else None,
    )


def _remove_stale(task: GroupTask, shards: list[ShardRecord]) -> None:
    """Shards that an earlier run, over other bytes, filled beyond these."""
    kept = {shard.file for shard in shards}
    for folder in (task.folder, task.folder / QUARANTINE):
        for path in folder.glob(f"{task.plan.name}-*.arrow"):
            if path.name not in kept:
                path.unlink()


def _finished(task: GroupTask) -> GroupRecord | None:
    """The account of a group that is there in full; None where work is left."""
    try:
        record = read_document(_account(task), GroupRecord)
        whole = _covers(record, task) and all(_is_whole(task, shard) for shard in record.shards)
    except (FileNotFoundError, StorageError):
        return None  # what was damaged is made again
    return record if whole else None


def _is_whole(task: GroupTask, shard: ShardRecord) -> bool:
    if shard.quarantine is not None and not (task.folder / shard.quarantine).is_file():
        return False
    return file_crc(task.folder / shard.file) == shard.crc32c


def _covers(record: GroupRecord, task: GroupTask) -> bool:
    if task.on_bad_record == "fail" and any(shard.quarantined for shard in record.shards):
        return False
    read = {file.name: file.size for shard in record.shards for file in shard.sources}
    return read == {file.name: file.size for file in task.plan.files}


def _account(task: GroupTask) -> Path:
    return task.folder / f"{task.plan.name}.json"
