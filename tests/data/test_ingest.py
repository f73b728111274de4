"""One shard of a conversion, and the folder around it, without Ray."""

import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from dmlray.data.claim import claim, finish
from dmlray.data.dataset import Dataset
from dmlray.data.ingest import GroupTask, convert_group
from dmlray.data.location import list_files, locate
from dmlray.data.plan import ConversionPlan, GroupPlan, plan_conversion
from dmlray.data.schema import Schema
from dmlray.data.tfrecord import read_records
from dmlray.errors import BusyError, DataError, MissingInputError, UsageError
from tests.data.videos import FRAME, VIDEO, random_block, write_tfrecords


def write_source(folder: Path, schema: Schema, sizes: tuple[int, ...] = (5, 3, 4)) -> None:
    for number, size in enumerate(sizes):
        write_tfrecords(folder / f"-{number}.tfrecord", schema, random_block(schema, size, number))


def task_of(source: Path, out: Path, schema: Schema = FRAME, on_bad_record: str = "fail") -> GroupTask:
    plan = GroupPlan(split="train", number=0, files=tuple(list_files(locate(source))))
    return GroupTask(source=str(source), folder=out / "train", contents=schema, plan=plan, on_bad_record=on_bad_record)


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("schema", [FRAME, VIDEO])
def test_converts_every_video_and_accounts_for_it(tmp_path: Path, schema: Schema) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_source(source, schema)
    (record,) = convert_group(task_of(source, out, schema)).shards
    assert [(file.name, file.records, file.quarantined) for file in record.sources] == [
        ("-0.tfrecord", 5, 0),
        ("-1.tfrecord", 3, 0),
        ("-2.tfrecord", 4, 0),
    ]
    assert record.blocks == (12,)  # the small files share a block
    finish(out, "train", schema, [record])
    dataset = Dataset.open(out / "train")
    dataset.verify()
    blocks = [random_block(schema, size, seed) for seed, size in enumerate((5, 3, 4))]
    assert list(dataset.ids) == [video_id for block in blocks for video_id in block.ids]
    assert dataset.truth.values.tolist() == [label for block in blocks for label in block.label_values.tolist()]
    ((mapped, _),) = dataset.locate(dataset.truth.offsets[:1])
    for name, frames in mapped.features.items():
        assert frames.tobytes() == b"".join(block.features[name].tobytes() for block in blocks)
    assert record.frames == len(mapped.features["visual"])


def test_does_only_what_is_missing(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_source(source, FRAME)
    record = convert_group(task_of(source, out))
    before = contents(out)
    shard, account = out / "train/shard-00000.arrow", out / "train/shard-00000.json"
    stamps = shard.stat().st_mtime_ns, account.stat().st_mtime_ns
    assert convert_group(task_of(source, out)) == record
    assert (shard.stat().st_mtime_ns, account.stat().st_mtime_ns) == stamps
    for damage in (shard.unlink, account.unlink, lambda: flip(shard, 100), lambda: account.write_text("{")):
        damage()
        assert convert_group(task_of(source, out)) == record
        assert contents(out) == before


def test_a_bad_record_fails_with_file_and_offset_and_leaves_nothing(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_source(source, FRAME)
    flip(source / "-1.tfrecord", 40)
    with pytest.raises(
        DataError, match=r"-1.tfrecord \(record 0, byte 0\): the checksum of the record's data is wrong"
    ):
        convert_group(task_of(source, out))
    assert contents(out) == {}


def test_quarantine_keeps_bytes_and_reason_and_counts(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_source(source, FRAME)
    flip(source / "-1.tfrecord", 40)
    group = convert_group(task_of(source, out, on_bad_record="quarantine"))
    (record,) = group.shards
    assert [(file.records, file.quarantined) for file in record.sources] == [(5, 0), (3, 1), (4, 0)]
    assert (record.videos, record.quarantined) == (11, 1)
    assert record.quarantine is not None
    with pa.memory_map(str(out / "train" / record.quarantine)) as file:
        (row,) = pa.ipc.open_file(file).read_all().to_pylist()
    assert (row["source"], row["record"], row["offset"]) == ("-1.tfrecord", 0, 0)
    assert "checksum" in row["problem"]
    assert row["data"] == (source / "-1.tfrecord").read_bytes()[12 : 12 + len(row["data"])]
    before = contents(out)
    assert convert_group(task_of(source, out, on_bad_record="quarantine")) == group
    (out / "train" / record.quarantine).unlink()
    assert convert_group(task_of(source, out, on_bad_record="quarantine")) == group
    assert contents(out) == before
    with pytest.raises(DataError):  # asked to fail, it does not take over what was quarantined
        convert_group(task_of(source, out))


def test_refuses_a_split_without_a_video(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "empty.tfrecord").touch()
    (record,) = convert_group(task_of(source, tmp_path / "out")).shards
    assert record.videos == 0
    with pytest.raises(DataError, match=r"empty.tfrecord: no file of the train split holds a usable record"):
        finish(tmp_path / "out", "train", FRAME, [record])


def test_a_uri_is_read_like_a_folder(tmp_path: Path) -> None:
    write_source(tmp_path / "in", FRAME)
    local = convert_group(task_of(tmp_path / "in", tmp_path / "one"))
    location = locate(f"file://{tmp_path}/in")
    assert list_files(location) == list_files(locate(tmp_path / "in"))
    task = task_of(tmp_path / "in", tmp_path / "two").model_copy(update={"source": location.uri})
    assert convert_group(task) == local


def test_names_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for source in (tmp_path, tmp_path / "absent", f"file://{tmp_path}/absent"):
        with pytest.raises(MissingInputError, match=r"no folder of TFRecord files \(\*.tfrecord\*\) here"):
            list_files(locate(source))
    with pytest.raises(UsageError, match=r"what://ever cannot be opened"):
        locate("what://ever")
    assert [file.name for file in list_files(locate(tmp_path / "notes.txt"))] == ["notes.txt"]  # named by the user


def plan_of(source: Path, schema: Schema = FRAME) -> ConversionPlan:
    return plan_conversion(schema, {"train": list_files(locate(source))})


def test_a_folder_belongs_to_one_conversion(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_source(source, FRAME)
    plan = plan_of(source)
    with claim(out, plan):
        (out / "train").mkdir()
        (out / "train" / ".shard-00000.arrow.0123abcd.tmp").touch()
    with claim(out, plan):
        assert sorted(contents(out)) == [".conversion.lock", "conversion.json"]
    with pytest.raises(UsageError, match="holds a conversion under another schema"), claim(out, plan_of(source, VIDEO)):
        pass
    (source / "-0.tfrecord").unlink()
    with (
        pytest.raises(UsageError, match=r"of other source files: -0.tfrecord is not among"),
        claim(out, plan_of(source)),
    ):
        pass


def test_a_file_that_was_cut_since_is_named(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_source(source, FRAME)
    with claim(out, plan_of(source)):
        pass
    records = list(read_records(source / "-1.tfrecord"))
    os.truncate(source / "-1.tfrecord", records[-1].offset)  # between two records: the framing cannot tell
    with (
        pytest.raises(UsageError, match=r"-1.tfrecord had \d+ bytes then and has \d+ now"),
        claim(out, plan_of(source)),
    ):
        pass


def test_one_conversion_at_a_time(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_source(source, FRAME)
    plan = plan_of(source)
    busy = pytest.raises(BusyError, match=rf"out is being converted into by process {os.getpid()} on")
    with claim(out, plan), busy, claim(out, plan):
        pass
    with claim(out, plan):
        pass


def test_refuses_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_source(source, FRAME)
    out.mkdir()
    (out / "thesis.tex").touch()
    with pytest.raises(UsageError, match="is not empty and holds no conversion"), claim(out, plan_of(source)):
        pass
    with pytest.raises(UsageError, match="must be a folder, found a file"), claim(out / "thesis.tex", plan_of(source)):
        pass


@pytest.mark.parametrize(("schema", "sizes"), [(FRAME, (140, 2, 0, 300)), (VIDEO, (300, 2, 0, 1100))])
@pytest.mark.parametrize("shard_bytes", [1, 400, 1 << 20])
def test_a_large_file_fills_several_shards(
    tmp_path: Path, schema: Schema, sizes: tuple[int, ...], shard_bytes: int
) -> None:
    """``sizes`` are more than a block holds: 128 videos of frames, 1,024 of vectors."""
    source, out = tmp_path / "in", tmp_path / "out"
    write_source(source, schema, sizes)
    task = task_of(source, out, schema).model_copy(update={"shard_bytes": shard_bytes})
    group = convert_group(task)
    assert len(group.shards) > 1 or shard_bytes == 1 << 20
    read = Counter[str]()
    for shard in group.shards:
        read.update({file.name: file.records for file in shard.sources})
    assert read == {f"-{number}.tfrecord": size for number, size in enumerate(sizes)}
    assert {path.name for path in (out / "train").glob("*.arrow")} == {shard.file for shard in group.shards}
    finish(out, "train", schema, group.shards)
    ids = [video_id for seed, size in enumerate(sizes) for video_id in random_block(schema, size, seed).ids]
    assert list(Dataset.open(out / "train").ids) == ids
    before = contents(out)
    (out / "train" / group.shards[-1].file).unlink()
    assert convert_group(task) == group
    assert contents(out) == before


def test_quarantined_records_are_counted_once_over_several_shards(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_source(source, FRAME, (300, 5, 300))
    damage = {"-0.tfrecord": (0, 130, 299), "-1.tfrecord": (4,), "-2.tfrecord": (0, 1)}
    for name, numbers in damage.items():
        offsets = [record.offset for record in read_records(source / name)]
        for number in numbers:
            flip(source / name, offsets[number] + 20)
    task = task_of(source, out, on_bad_record="quarantine").model_copy(update={"shard_bytes": 5000})
    group = convert_group(task)
    assert len(group.shards) > 2
    records, bad = Counter[str](), Counter[str]()
    for shard in group.shards:
        records.update({file.name: file.records for file in shard.sources})
        bad.update({file.name: file.quarantined for file in shard.sources})
    assert records == {"-0.tfrecord": 300, "-1.tfrecord": 5, "-2.tfrecord": 300}
    assert bad == {name: len(numbers) for name, numbers in damage.items()}
    assert sum(shard.videos for shard in group.shards) == 605 - 6
    rows = [row for shard in group.shards if shard.quarantine for row in quarantined(out / "train" / shard.quarantine)]
    assert sorted(rows) == sorted((name, number) for name, numbers in damage.items() for number in numbers)


def quarantined(path: Path) -> list[tuple[str, int]]:
    with pa.memory_map(str(path)) as file:
        return [(row["source"], row["record"]) for row in pa.ipc.open_file(file).read_all().to_pylist()]
