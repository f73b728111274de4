"""A converted data set is whole, or the file that is not is named."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dmlray.cli.app import app
from dmlray.data.claim import claim, finish
from dmlray.data.ingest import convert_group
from dmlray.data.verification import verify_conversion
from dmlray.errors import MissingInputError, StorageError
from tests.data.test_ingest import flip, plan_of, task_of, write_source
from tests.data.videos import FRAME, random_block, write_dataset


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    for split in ("train", "validation"):
        write_dataset(tmp_path / "data", FRAME, [[random_block(FRAME, 5)], [random_block(FRAME, 3, 1)]], split)
    return tmp_path / "data"


def test_all_splits_or_one_are_verified(converted: Path) -> None:
    both = verify_conversion(converted)
    assert [(split.path.name, split.videos, split.shards) for split in both] == [("train", 8, 2), ("validation", 8, 2)]
    assert both[0].size_bytes == sum(path.stat().st_size for path in (converted / "train").glob("*.arrow"))
    assert verify_conversion(converted / "train") == both[:1]


def test_every_damaged_byte_is_found_and_its_file_named(converted: Path) -> None:
    shard = converted / "validation/shard-00001.arrow"
    whole = shard.read_bytes()
    for position in range(0, len(whole), 97):
        shard.write_bytes(whole[:position] + bytes([whole[position] ^ 2]) + whole[position + 1 :])
        with pytest.raises(StorageError, match=r"validation/shard-00001.arrow: "):
            verify_conversion(converted)
    shard.unlink()
    with pytest.raises(StorageError, match=r"shard-00001.arrow: is missing, though the manifest names it"):
        verify_conversion(converted)


def test_quarantine_is_part_of_it(tmp_path: Path) -> None:
    write_source(tmp_path / "in", FRAME)
    flip(tmp_path / "in/-1.tfrecord", 40)
    (record,) = convert_group(task_of(tmp_path / "in", tmp_path / "out", on_bad_record="quarantine")).shards
    finish(tmp_path / "out", "train", FRAME, [record])
    assert [split.quarantined for split in verify_conversion(tmp_path / "out")] == [1]
    assert record.quarantine is not None
    kept = tmp_path / "out/train" / record.quarantine
    kept.write_bytes(kept.read_bytes()[:-20])
    with pytest.raises(StorageError, match=r"quarantine/shard-00000.arrow: is not a whole Arrow file"):
        verify_conversion(tmp_path / "out")
    kept.unlink()
    with pytest.raises(StorageError, match=r"quarantine/shard-00000.arrow: "):
        verify_conversion(tmp_path / "out")


def test_what_is_no_conversion_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"no converted data set \(manifest.json\) here"):
        verify_conversion(tmp_path)


def test_a_split_that_was_not_converted_to_the_end_is_named(tmp_path: Path) -> None:
    write_source(tmp_path / "in", FRAME)
    with claim(tmp_path / "out", plan_of(tmp_path / "in")):
        convert_group(task_of(tmp_path / "in", tmp_path / "out"))
    with pytest.raises(StorageError, match=r"out/train: was not converted to the end"):
        verify_conversion(tmp_path / "out")


def test_the_command(converted: Path) -> None:
    run = CliRunner().invoke
    assert "train: 8 videos in 2 shards" in run(app, ["inspect", "--verify", str(converted)]).stdout
    answer = json.loads(run(app, ["inspect", "--verify", "--json", str(converted)]).stdout)
    assert [split["videos"] for split in answer["splits"]] == [8, 8]
    shutil.rmtree(converted / "train")
    flip(converted / "validation/shard-00000.arrow", 500)
    failed = run(app, ["inspect", "--verify", str(converted)])
    assert isinstance(failed.exception, StorageError)
