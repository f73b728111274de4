"""Rows 34 to 36 of the fault matrix: nothing is lost silently, nothing forged costs memory, a kill leaves no halves."""

import gzip
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dmlray.data.claim import PLAN, claim, finish
from dmlray.data.dataset import Dataset
from dmlray.data.find_schema import find_schema
from dmlray.data.ingest import GroupTask, convert_group
from dmlray.data.location import list_files, locate
from dmlray.data.plan import GroupPlan, plan_conversion
from dmlray.data.reader import BadRecord, read_videos
from dmlray.data.schema import Schema
from dmlray.data.tfrecord import read_records
from dmlray.errors import DataError
from tests.data.encoder import header
from tests.data.videos import FRAME, VIDEO, random_block, write_tfrecords

pytestmark = pytest.mark.thorough

REPOSITORY = Path(__file__).parents[2]


def shard(path: Path, videos: int = 4, schema: Schema = VIDEO) -> tuple[Path, list[int]]:
    """A shard, and the byte offsets of its records and of its end."""
    write_tfrecords(path, schema, random_block(schema, videos))
    return path, [*(record.offset for record in read_records(path)), path.stat().st_size]


def ids_of(path: Path, schema: Schema = VIDEO) -> tuple[list[str], DataError | None]:
    """What is read in quarantine mode and whether failing mode refuses it."""
    bad: list[BadRecord] = []
    ids = [video_id for block in read_videos(str(path), schema, on_bad=bad.append) for video_id in block.ids]
    error = None
    try:
        for _ in read_videos(str(path), schema):
            pass
    except DataError as raised:
        error = raised
    places = [(error.path, error.record, error.offset)] if error else []
    assert [(one.path, one.record, one.offset) for one in bad] == places
    return ids, error


@pytest.mark.parametrize(
    "place",
    ["length", "length checksum", "data", "data checksum"],
)
def test_a_flip_anywhere_is_named_and_costs_no_other_record(tmp_path: Path, place: str) -> None:
    path, offsets = shard(tmp_path / "a.tfrecord")
    good, ids = path.read_bytes(), random_block(VIDEO, 4).ids
    spans = {
        "length": range(offsets[2], offsets[2] + 8),
        "length checksum": range(offsets[2] + 8, offsets[2] + 12),
        "data": range(offsets[2] + 12, offsets[3] - 4),
        "data checksum": range(offsets[3] - 4, offsets[3]),
    }
    for position in spans[place]:
        damaged = bytearray(good)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        found, error = ids_of(path)
        assert error is not None
        assert (error.record, error.offset) == (2, offsets[2])
        assert found == [ids[0], ids[1], ids[3]]


def test_every_cut_is_named_but_between_records(tmp_path: Path) -> None:
    path, offsets = shard(tmp_path / "a.tfrecord")
    good, ids = path.read_bytes(), random_block(VIDEO, 4).ids
    for size in range(len(good)):
        path.write_bytes(good[:size])
        found, error = ids_of(path)
        whole = sum(size >= end for end in offsets[1:])
        assert found == ids[:whole]
        assert (error is None) == (size in offsets)  # there, only the size in the plan can tell: test_ingest


def test_what_is_quarantined_and_what_is_read_are_all_the_records(tmp_path: Path) -> None:
    path, offsets = shard(tmp_path / "in" / "a.tfrecord", 40, FRAME)
    damaged = bytearray(path.read_bytes())
    wrong = [0, 7, 8, 39]
    for number in wrong:
        damaged[offsets[number] + 15] ^= 4
    path.write_bytes(damaged)
    (one,) = convert_group(task_of(tmp_path / "in", tmp_path / "out", FRAME)).shards
    assert (one.sources[0].records, one.sources[0].quarantined, one.videos) == (40, len(wrong), 40 - len(wrong))


def test_what_a_broken_length_cost_is_in_the_books_and_what_follows_is_read(tmp_path: Path) -> None:
    path, offsets = shard(tmp_path / "in" / "a.tfrecord", 40, FRAME)
    damaged = bytearray(path.read_bytes())
    for number in (3, 4, 20):
        damaged[offsets[number] + 2] ^= 4
    path.write_bytes(damaged)
    (one,) = convert_group(task_of(tmp_path / "in", tmp_path / "out", FRAME)).shards
    (source,) = one.sources
    assert one.videos == 37
    assert (source.records, source.quarantined) == (39, 2)  # 3 and 4 cannot be told apart
    assert source.unreadable_bytes == offsets[5] - offsets[3] + offsets[21] - offsets[20]


def test_a_file_that_is_no_tfrecord_is_quarantined_also_without_a_schema(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_tfrecords(folder / "b.tfrecord", VIDEO, random_block(VIDEO, 5))
    (folder / "a.tfrecord").write_text("this is a text that somebody misnamed")
    schema = find_schema(locate(folder), list_files(locate(folder)))
    assert [modality.width for modality in schema.modalities] == [6, 3]
    with pytest.raises(DataError, match=r"a.tfrecord \(record 0, byte 0\): not a TFRecord file"):
        convert_group(task_of(folder, tmp_path / "out", schema, "fail"))
    (one,) = convert_group(task_of(folder, tmp_path / "out", schema)).shards
    assert [(file.name, file.records, file.quarantined) for file in one.sources] == [
        ("a.tfrecord", 1, 1),
        ("b.tfrecord", 5, 0),
    ]


def test_nothing_to_guess_from_says_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "a.tfrecord").write_text("this is a text that somebody misnamed")
    with pytest.raises(DataError, match="no schema can be guessed without records; give --schema"):
        find_schema(locate(tmp_path), list_files(locate(tmp_path)))


BOMBS = {
    **{f"length-2-{power}": header((1 << power) - (power == 64)) + bytes(568) for power in (31, 32, 40, 60, 63, 64)},
    "gzip-length": gzip.compress(header(1 << 40) + bytes(1 << 20)),
    "gzip-bomb": gzip.compress(header(200 << 20) + bytes(200 << 20), 9),
    "gzip-nested": gzip.compress(gzip.compress(bytes(64 << 20), 9)),
    "huge-example": header(300 << 20),  # and as many zeros, which take no room on the disk
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_is_forged_or_huge_costs_no_memory(tmp_path: Path, bomb: str) -> None:
    path = tmp_path / "bomb.tfrecord"
    path.write_bytes(BOMBS[bomb])
    if bomb == "huge-example":
        os.truncate(path, 301 << 20)
    code = (
        "import sys; from pathlib import Path; from dmlray.data.reader import read_videos;"
        "from dmlray.data.schema import PRESETS; from dmlray.errors import DataError\n"
        "def peak(): return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
        "before = peak()\n"
        "try: list(read_videos(sys.argv[1], PRESETS['yt8m-frame']))\n"
        "except DataError as error: print(peak() - before, error)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, timeout=60)
    kib, _, sentence = done.stdout.partition(" ")
    assert int(kib) < 64 << 10
    assert sentence.startswith(f"{path} (record 0, byte 0): ")


def task_of(source: Path, out: Path, schema: Schema, on_bad_record: str = "quarantine") -> GroupTask:
    plan = GroupPlan(split="train", number=0, files=tuple(list_files(locate(source))))
    return GroupTask.model_validate(
        {
            "source": str(source),
            "folder": out / "train",
            "contents": schema,
            "plan": plan,
            "on_bad_record": on_bad_record,
        }
    )


def convert_here(source: Path, out: Path) -> None:
    """A conversion of two groups without Ray, the first of which fills several shards."""
    files = list_files(locate(source))
    plan = plan_conversion(FRAME, {"train": files})
    groups = [GroupPlan(split="train", number=number, files=(file,)) for number, file in enumerate(files)]
    with claim(out, plan):
        shards = []
        for group in groups:
            task = task_of(source, out, FRAME, "fail").model_copy(update={"plan": group, "shard_bytes": 9000})
            shards += convert_group(task).shards
        finish(out, "train", FRAME, shards)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".conversion.lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


KILLS = ["block-written:1", "block-written:3", "shard-written:1", "shard-written:2", "before-manifest:1"]


@pytest.mark.parametrize("failpoint", KILLS)
def test_a_killed_conversion_leaves_no_halves_and_is_taken_up(tmp_path: Path, failpoint: str) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for number, videos in enumerate((400, 150)):
        write_tfrecords(source / f"{number}.tfrecord", FRAME, random_block(FRAME, videos, number))
    convert_here(source, tmp_path / "undisturbed")
    whole = contents(tmp_path / "undisturbed")
    assert len([name for name in whole if name.endswith(".arrow")]) > 3
    code = (
        "import sys; from pathlib import Path; from tests.data.test_data_faults import convert_here;"
        "convert_here(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    environment = {**os.environ, "DMLRAY_FAILPOINT": failpoint}
    command = [sys.executable, "-c", code, source, out]
    killed = subprocess.run(command, cwd=REPOSITORY, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    left = {name: data for name, data in contents(out).items() if not name.endswith(".tmp")}
    assert left.items() <= whole.items()  # what stands under its final name is whole
    assert "train/manifest.json" not in left
    assert PLAN in left
    convert_here(source, out)
    assert contents(out) == whole
    Dataset.open(out / "train").verify()
