"""Data sets that lie elsewhere: read through this node's cache, checked, bounded."""

import json
import multiprocessing
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dmlray.data import cache
from dmlray.data.dataset import Dataset, open_splits
from dmlray.data.manifest import MANIFEST
from dmlray.data.upload import check_free, upload_conversion
from dmlray.errors import ConfigError, MissingInputError, StorageError, UsageError
from dmlray.remote import Address, Remote
from tests.data.videos import VIDEO, random_block, write_dataset


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(cache.FOLDER, str(tmp_path / "cache"))
    monkeypatch.delenv(cache.BOUND, raising=False)
    monkeypatch.setattr(cache, "_held", {})
    return tmp_path / "cache"


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the shards that were fetched."""
    names: list[str] = []
    fetch = Remote.fetch

    def noted(remote: Remote, name: str, path: Path) -> str:
        if name != MANIFEST:
            names.append(name)
        return fetch(remote, name, path)

    monkeypatch.setattr(Remote, "fetch", noted)
    return names


@pytest.fixture
def put(tmp_path: Path) -> Callable[[str, int], Address]:
    """Write a data set of three shards, each with other videos."""

    def write(name: str, seed: int = 0) -> Address:
        for split in ("train", "validation"):
            blocks = [[random_block(VIDEO, 20, 10 * seed + number)] for number in range(3)]
            write_dataset(tmp_path / "there" / name, VIDEO, blocks, split)
        return Address(f"file://{tmp_path}/there/{name}")

    return write


def forget() -> None:
    """As if the process that holds splits had ended, and another came."""
    for descriptor in cache._held.values():
        os.close(descriptor)
    cache._held.clear()


def kept(root: Path) -> set[str]:
    return {path.parent.name for path in root.glob(f"*/{cache._SIZE}")}


def test_it_reads_like_a_folder(put: Callable[..., Address], tmp_path: Path, fetched: list[str]) -> None:
    place = put("set")
    local, remote = open_splits(tmp_path / "there/set"), open_splits(place)
    assert fetched == []
    assert {name: split.fingerprint for name, split in remote.items()} == {
        name: split.fingerprint for name, split in local.items()
    }
    far = pickle.loads(pickle.dumps(remote["train"]))
    assert far.place == place / "train"
    assert far.labels(45).tolist() == local["train"].labels(45).tolist()
    assert fetched == ["shard-00002.arrow"]
    assert list(far.ids) == list(local["train"].ids)
    for row in (0, 59):
        ((block, at),), ((mine, here),) = far.locate(np.array([row])), local["train"].locate(np.array([row]))
        assert np.array_equal(block.features["visual"][block.frames(at)], mine.features["visual"][mine.frames(here)])
    far.bring()
    remote["train"].verify()
    assert sorted(fetched) == ["shard-00000.arrow", "shard-00001.arrow", "shard-00002.arrow"]


@pytest.mark.parametrize("damage", ["altered", "cut", "missing"])
def test_a_damaged_shard_is_named_and_not_kept(
    put: Callable[..., Address], tmp_path: Path, root: Path, damage: str
) -> None:
    place = put("set") / "train"
    shard = tmp_path / "there/set/train/shard-00001.arrow"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data if damage == "altered" else data[:-1])
    if damage == "missing":
        shard.unlink()
    dataset = Dataset.open(place)
    with pytest.raises(StorageError, match=r"train/shard-00001.arrow: is (damaged: its CRC32C|missing)"):
        dataset.bring()
    assert not [path for path in root.rglob("*") if "00001" in path.name]


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="nothing: no converted dataset"):
        Dataset.open(Address(f"file://{tmp_path}/nothing"))


def test_a_manifest_reaches_no_further_than_its_folder(put: Callable[..., Address], tmp_path: Path) -> None:
    place = put("set") / "train"
    manifest = tmp_path / "there/set/train" / MANIFEST
    document = json.loads(manifest.read_text())
    document["shards"][0]["file"] = "../../../canary"
    manifest.write_text(json.dumps(document))
    (tmp_path / "there/canary").write_bytes(b"x")
    with pytest.raises(StorageError, match=r"names a shard '\.\./\.\./\.\./canary' outside of its folder"):
        Dataset.open(place).bring()
    assert not (tmp_path / "canary").exists()


def test_the_least_recently_used_goes(put: Callable[..., Address], root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = [Dataset.open(put(f"set{number}", number) / "train") for number in range(4)]
    size = max(sum(shard.bytes for shard in split.manifest.shards) for split in splits)
    monkeypatch.setenv(cache.BOUND, str(2.5 * size / 1e9))
    for number in (0, 1, 0, 2):
        splits[number].bring()
        forget()
    assert kept(root) == {splits[0].fingerprint, splits[2].fingerprint}
    splits[0].bring()
    splits[3].bring()
    assert kept(root) == {splits[0].fingerprint, splits[3].fingerprint}
    with pytest.raises(StorageError, match=f"needs 0.00 beside 0.00 GB in use: raise {cache.BOUND}"):
        splits[1].bring()
    assert kept(root) == {splits[0].fingerprint, splits[3].fingerprint}
    assert list(splits[0].ids)


@pytest.mark.parametrize("bound", ["0", "-1", "much"])
def test_a_bound_is_a_number(put: Callable[..., Address], monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setenv(cache.BOUND, bound)
    with pytest.raises(ConfigError, match=f"{cache.BOUND} must be a positive number of gigabytes"):
        Dataset.open(put("set") / "train").bring()


def test_processes_fetch_a_shard_once(put: Callable[..., Address], root: Path, fetched: list[str]) -> None:
    dataset = Dataset.open(put("set") / "train")
    root.mkdir()
    (root / ".stale.part").touch()

    def bring(barrier: object, count: object) -> None:
        barrier.wait()  # type: ignore[attr-defined]
        dataset.bring()
        count.put(len(fetched))  # type: ignore[attr-defined]

    fork = multiprocessing.get_context("fork")
    barrier, counts = fork.Barrier(3), fork.Queue()
    processes = [fork.Process(target=bring, args=(barrier, counts)) for _ in range(3)]
    for process in processes:
        process.start()
    assert sorted(counts.get(timeout=60) for _ in processes) == [0, 0, 3]
    for process in processes:
        process.join()
    assert len(list(root.rglob("*.arrow"))) == 3


def test_what_was_brought_whole_is_a_data_set_of_its_own(put: Callable[..., Address]) -> None:
    far = Dataset.open(put("set") / "train")
    far.bring()
    assert Dataset.open(far.path).fingerprint == far.fingerprint


def test_a_conversion_is_copied_with_its_manifests_last(
    put: Callable[..., Address], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("set")
    sent: list[str] = []
    write = Remote.put
    monkeypatch.setattr(Remote, "put", lambda self, name, data: (sent.append(name), write(self, name, data))[1])
    out = Address(f"file://{tmp_path}/out")
    check_free(out)
    upload_conversion(tmp_path / "there/set", out)
    assert sent[-1] == sent[-5] == MANIFEST
    assert {name: split.fingerprint for name, split in open_splits(out).items()} == {
        name: split.fingerprint for name, split in open_splits(tmp_path / "there/set").items()
    }
    with pytest.raises(UsageError, match="out holds a data set already"):
        check_free(out)
    (tmp_path / "there/set/train/shard-00001.arrow").unlink()
    with pytest.raises(StorageError, match="is missing, though the manifest names it"):
        upload_conversion(tmp_path / "there/set", out / "again")
