"""One shard of a conversion, and the folder around it, without Ray."""

from pathlib import Path

import pyarrow as pa
import pytest

from dmlray.data.claim import claim, finish
from dmlray.data.dataset import Dataset
from dmlray.data.ingest import ShardTask, convert_shard
from dmlray.data.location import list_files, locate
from dmlray.data.plan import ConversionPlan, ShardPlan, plan_conversion
from dmlray.data.schema import Schema
from dmlray.errors import DataError, MissingInputError, UsageError
from tests.data.videos import FRAME, VIDEO, random_block, write_tfrecords


def write_source(folder: Path, schema: Schema, sizes: tuple[int, ...] = (5, 3, 4)) -> None:
    for number, size in enumerate(sizes):
        write_tfrecords(folder / f"-{number}.tfrecord", schema, random_block(schema, size, number))


def task_of(source: Path, out: Path, schema: Schema = FRAME, on_bad_record: str = "fail") -> ShardTask:
    plan = ShardPlan(split="train", number=0, files=tuple(list_files(locate(source))))
    return ShardTask(source=str(source), folder=out / "train", contents=schema, plan=plan, on_bad_record=on_bad_record)


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
    record = convert_shard(task_of(source, out, schema))
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
    record = convert_shard(task_of(source, out))
    before = contents(out)
    shard, account = out / "train/shard-00000.arrow", out / "train/shard-00000.json"
    stamps = shard.stat().st_mtime_ns, account.stat().st_mtime_ns
    assert convert_shard(task_of(source, out)) == record
    assert (shard.stat().st_mtime_ns, account.stat().st_mtime_ns) == stamps
    for damage in (shard.unlink, account.unlink, lambda: flip(shard, 100), lambda: account.write_text("{")):
        damage()
        assert convert_shard(task_of(source, out)) == record
        assert contents(out) == before


def test_a_bad_record_fails_with_file_and_offset_and_leaves_nothing(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_source(source, FRAME)
    flip(source / "-1.tfrecord", 40)
    with pytest.raises(
        DataError, match=r"-1.tfrecord \(record 0, byte 0\): the checksum of the record's data is wrong"
    ):
        convert_shard(task_of(source, out))
    assert contents(out) == {}


def test_quarantine_keeps_bytes_and_reason_and_counts(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_source(source, FRAME)
    flip(source / "-1.tfrecord", 40)
    record = convert_shard(task_of(source, out, on_bad_record="quarantine"))
    assert [(file.records, file.quarantined) for file in record.sources] == [(5, 0), (3, 1), (4, 0)]
    assert (record.videos, record.quarantined) == (11, 1)
    assert record.quarantine is not None
    with pa.memory_map(str(out / "train" / record.quarantine)) as file:
        (row,) = pa.ipc.open_file(file).read_all().to_pylist()
    assert (row["source"], row["record"], row["offset"]) == ("-1.tfrecord", 0, 0)
    assert "checksum" in row["problem"]
    assert row["data"] == (source / "-1.tfrecord").read_bytes()[12 : 12 + len(row["data"])]
    before = contents(out)
    assert convert_shard(task_of(source, out, on_bad_record="quarantine")) == record
    (out / "train" / record.quarantine).unlink()
    assert convert_shard(task_of(source, out, on_bad_record="quarantine")) == record
    assert contents(out) == before
    with pytest.raises(DataError):  # asked to fail, it does not take over what was quarantined
        convert_shard(task_of(source, out))


def test_refuses_a_split_without_a_video(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "empty.tfrecord").touch()
    record = convert_shard(task_of(source, tmp_path / "out"))
    assert record.videos == 0
    with pytest.raises(DataError, match=r"empty.tfrecord: no file of the train split holds a usable record"):
        finish(tmp_path / "out", "train", FRAME, [record])


def test_a_uri_is_read_like_a_folder(tmp_path: Path) -> None:
    write_source(tmp_path / "in", FRAME)
    local = convert_shard(task_of(tmp_path / "in", tmp_path / "one"))
    location = locate(f"file://{tmp_path}/in")
    assert list_files(location) == list_files(locate(tmp_path / "in"))
    task = task_of(tmp_path / "in", tmp_path / "two").model_copy(update={"source": location.uri})
    assert convert_shard(task) == local


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
    claim(out, plan_of(source))
    (out / "train").mkdir()
    (out / "train" / ".shard-00000.arrow.0123abcd.tmp").touch()
    claim(out, plan_of(source))
    assert list(contents(out)) == ["conversion.json"]
    with pytest.raises(UsageError, match="holds a conversion under another schema"):
        claim(out, plan_of(source, VIDEO))
    (source / "-0.tfrecord").unlink()
    with pytest.raises(UsageError, match="holds a conversion of other source files or splits"):
        claim(out, plan_of(source))


def test_refuses_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_source(source, FRAME)
    out.mkdir()
    (out / "thesis.tex").touch()
    with pytest.raises(UsageError, match="is not empty and holds no conversion"):
        claim(out, plan_of(source))
    with pytest.raises(UsageError, match="must be a folder, found a file"):
        claim(out / "thesis.tex", plan_of(source))
