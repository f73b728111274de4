"""Datasets: videos by index, and what is refused."""

import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmlray.data.blocks import Block, map_shard
from dmlray.data.dataset import Dataset, open_splits
from dmlray.data.schema import Schema
from dmlray.errors import MissingInputError, StorageError
from tests.data.videos import FRAME, VIDEO, random_block, write_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return write_dataset(
        tmp_path, FRAME, [[random_block(FRAME, 5, 0), random_block(FRAME, 3, 1)], [random_block(FRAME, 4, 2)]]
    )


def test_threads_that_touch_a_shard_first_share_its_map(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without that, one of them read at address 0, or where a map had been."""
    mapped, addresses_of = list[Any](), Block.addresses

    def slow(*shard: Any) -> list[Block]:
        time.sleep(0.05)
        mapped.append(shard)
        return map_shard(*shard)

    monkeypatch.setattr("dmlray.data.dataset.map_shard", slow)
    monkeypatch.setattr(Block, "addresses", lambda block: (time.sleep(0.02), addresses_of(block))[1])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: dataset.places(np.arange(12))[2].copy(), range(4)))
    assert len(mapped) == 2, "each shard once"
    assert all(addresses["id_offsets"].all() and np.array_equal(addresses, found[0]) for addresses in found)


@pytest.mark.parametrize("schema", [FRAME, VIDEO])
def test_gives_back_every_video(tmp_path: Path, schema: Schema) -> None:
    sources = [random_block(schema, 5, 0), random_block(schema, 3, 1), random_block(schema, 4, 2)]
    dataset = write_dataset(tmp_path, schema, [sources[:2], sources[2:]])
    assert len(dataset) == 12
    assert dataset.schema == schema
    assert list(dataset.ids) == [video_id for block in sources for video_id in block.ids]
    index = 0
    for source in sources:
        offsets = source.frame_offsets if source.frame_offsets is not None else np.arange(len(source) + 1)
        for row in range(len(source)):
            ((block, at),) = dataset.locate(np.array([index]))
            labels = source.label_values[source.label_offsets[row] : source.label_offsets[row + 1]]
            assert dataset.labels(index).tolist() == labels.tolist() == dataset.truth.list_of(index).tolist()
            for name, frames in block.features.items():
                found = frames[block.frames(at)]
                assert np.array_equal(found, source.features[name][offsets[row] : offsets[row + 1]])
                assert not found.flags.owndata
            index += 1
    dataset.verify()


def test_same_videos_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = (write_dataset(tmp_path / name, FRAME, [[random_block(FRAME, 5)]]) for name in "ab")
    assert (one.path / "shard-00000.arrow").read_bytes() == (two.path / "shard-00000.arrow").read_bytes()
    assert one.fingerprint == two.fingerprint
    other = write_dataset(tmp_path / "c", FRAME, [[random_block(FRAME, 5, seed=1)]])
    assert other.fingerprint != one.fingerprint


def test_pickles_as_its_path(dataset: Dataset) -> None:
    dataset.locate(np.arange(len(dataset)))
    data = pickle.dumps(dataset)
    assert len(data) < 500
    copy = pickle.loads(data)
    assert copy.fingerprint == dataset.fingerprint
    assert copy.ids == dataset.ids


def test_counts_ids_that_stand_twice(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, FRAME, [[random_block(FRAME, 5, 0)], [random_block(FRAME, 3, 0)]])
    assert dataset.manifest.duplicate_ids == 3


@pytest.mark.parametrize("index", [-1, 12])
def test_refuses_a_video_that_is_not_there(dataset: Dataset, index: int) -> None:
    with pytest.raises(IndexError, match=f"0 to 11, asked for {index}"):
        dataset.labels(index)


def test_refuses_every_cut_shard(dataset: Dataset) -> None:
    shard = dataset.path / "shard-00000.arrow"
    whole = shard.read_bytes()
    for length in range(0, len(whole), 37):
        shard.write_bytes(whole[:length])
        with pytest.raises(StorageError, match=f"shard-00000.arrow: has {length} bytes"):
            Dataset.open(dataset.path)
    shard.unlink()
    with pytest.raises(StorageError, match=r"shard-00000.arrow: is missing"):
        Dataset.open(dataset.path)


def test_finds_every_flipped_byte(dataset: Dataset) -> None:
    """Opening and reading either notice the damage or give values, and never crash; ``verify`` always notices."""
    shard = dataset.path / "shard-00001.arrow"
    whole = shard.read_bytes()
    for position in range(0, len(whole), 3):
        shard.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << position % 8]) + whole[position + 1 :])
        try:
            damaged = Dataset.open(dataset.path)
        except StorageError:
            continue
        with pytest.raises(StorageError, match=r"shard-00001.arrow: is damaged: its CRC32C"):
            damaged.verify()
        try:
            places = damaged.locate(np.arange(len(damaged)))
        except StorageError:
            continue
        for block, row in places:
            frames = block.frames(row)
            assert 0 <= frames.start <= frames.stop


def test_refuses_a_manifest_that_does_not_fit(dataset: Dataset) -> None:
    path = dataset.path / "manifest.json"
    text = path.read_text()
    for damaged in (
        text[:-40],
        text.replace('"videos": 12', '"videos": 11'),
        "[]",
        text.replace('"format": 1', '"format": 2'),
    ):
        path.write_text(damaged)
        with pytest.raises(StorageError, match=r"manifest.json: is damaged"):
            Dataset.open(dataset.path)


def test_refuses_an_unfinished_conversion(dataset: Dataset) -> None:
    (dataset.path / "manifest.json").unlink()
    with pytest.raises(StorageError, match="was not converted to the end"):
        Dataset.open(dataset.path)


def test_refuses_a_folder_without_a_dataset(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(MissingInputError, match=r"no converted dataset \(manifest.json, which .* writes\) here"):
            Dataset.open(folder)


def test_opens_splits(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        write_dataset(tmp_path, FRAME, [[random_block(FRAME, 3)]], split)
    assert list(open_splits(tmp_path)) == ["train", "validation"]
    write_dataset(tmp_path, FRAME, [[random_block(FRAME, 3)]], "test")
    assert list(open_splits(tmp_path)) == ["train", "validation", "test"]


def test_refuses_splits_that_a_sweep_cannot_use(tmp_path: Path) -> None:
    write_dataset(tmp_path, FRAME, [[random_block(FRAME, 3)]])
    with pytest.raises(MissingInputError, match=r"validation: no converted dataset .* here"):
        open_splits(tmp_path)
    write_dataset(tmp_path, VIDEO, [[random_block(VIDEO, 3)]], "validation")
    with pytest.raises(StorageError, match="another schema than the train split"):
        open_splits(tmp_path)
