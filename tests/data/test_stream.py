"""Training from a stream of TFRecords or Arrow shards: which files, in which order, every video once an epoch."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dmlray.config import FramesConfig
from dmlray.data import stream
from dmlray.data.batch import Batch
from dmlray.data.location import list_files, locate
from dmlray.data.stream_source import StreamSource
from dmlray.errors import DataError, MissingInputError, StorageError
from tests.data.videos import FRAME, VIDEO, random_block, write_dataset, write_tfrecords

FILES, VIDEOS = 6, 30


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    for number in range(FILES):
        write_tfrecords(tmp_path / f"in/train{number}.tfrecord", FRAME, random_block(FRAME, VIDEOS, number))
    write_tfrecords(tmp_path / "in/more/test.tfrecord", FRAME, random_block(FRAME, 2, 99))
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("", ["more/test.tfrecord", *(f"train{n}.tfrecord" for n in range(FILES))]),
        ("/train[01]*", ["train0.tfrecord", "train1.tfrecord"]),
        ("/train?.tfrecord", [f"train{n}.tfrecord" for n in range(FILES)]),
        ("/*/test*", ["more/test.tfrecord"]),
        ("/train3.tfrecord", ["train3.tfrecord"]),
    ],
)
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_source_is_a_folder_a_pattern_or_a_file(shards: Path, pattern: str, names: list[str], scheme: str) -> None:
    if scheme and "?" in pattern:
        pytest.skip("in a URI, ? begins its options")
    location = locate(f"{scheme}{shards}{pattern}")
    assert [file.name for file in list_files(location)] == names
    assert [Path(locate(location.uri).path(name)).name for name in names] == [Path(name).name for name in names]


def test_a_pattern_in_the_working_folder(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shards)
    assert len(list_files(locate("train*"))) == FILES


def test_brackets_in_a_name_are_no_pattern(shards: Path) -> None:
    shards.rename(shards.parent / "in [1]")
    assert len(list_files(locate(shards.parent / "in [1]"))) == FILES + 1


@pytest.mark.parametrize("source", ["nowhere", "in/none*", "."])
def test_no_files(tmp_path: Path, source: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(MissingInputError, match="TFRecord files"):
        StreamSource.open(tmp_path / source, FRAME)


def test_a_schema_that_does_not_fit(shards: Path) -> None:
    with pytest.raises(DataError, match=r"test.tfrecord \(record 0, byte 0\)"):
        StreamSource.open(shards, VIDEO)


def test_files_without_a_video(tmp_path: Path) -> None:
    (tmp_path / "a.tfrecord").touch()
    with pytest.raises(DataError, match="none of its 1 TFRecord files holds a video"):
        StreamSource.open(tmp_path, FRAME)


def test_the_fingerprint_tells_of_names_and_sizes(shards: Path) -> None:
    before = StreamSource.open(shards, FRAME).fingerprint
    assert StreamSource.open(shards, FRAME).fingerprint == before
    (shards / "train0.tfrecord").rename(shards / "train9.tfrecord")
    renamed = StreamSource.open(shards, FRAME).fingerprint
    write_tfrecords(shards / "train9.tfrecord", FRAME, random_block(FRAME, 1))
    assert len({before, renamed, StreamSource.open(shards, FRAME).fingerprint}) == 3


def test_every_file_is_in_one_group_of_an_epoch(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dmlray.data.plan.GROUP_FILES", 2)
    source = StreamSource.open(shards, FRAME)
    orders = [
        [file.name for group in source.groups(seed, epoch) for file in group] for seed in (1, 2) for epoch in (0, 1)
    ]
    assert all(sorted(order) == [file.name for file in source.files] for order in orders)
    assert len(set(map(tuple, orders))) == 4
    assert len(source.groups(1, 0)) == 4


@pytest.fixture
def many_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the files were large and the window small."""
    monkeypatch.setattr("dmlray.data.plan.GROUP_FILES", 2)
    monkeypatch.setattr(stream, "WINDOW_VIDEOS", 48)


def epochs_of(shards: Path, bucketing: bool = False) -> Callable[[int], list[Batch]]:
    batches = stream.RayStream(StreamSource.open(shards, FRAME)).batches(
        16, frames=FramesConfig(), modalities=None, seed=5, bucketing=bucketing, pinned=False
    )
    return lambda epoch: list(batches.epoch(epoch))


def ids(batches: list[Batch]) -> list[str]:
    return [video_id for batch in batches for video_id in batch.ids]


@pytest.mark.ray
@pytest.mark.parametrize("bucketing", [False, True])
def test_every_video_once_an_epoch_in_an_order_of_its_own(
    ray_session: None, many_groups: None, shards: Path, bucketing: bool
) -> None:
    epoch = epochs_of(shards / "train*", bucketing)
    first, second = epoch(0), epoch(1)
    assert ids(first) != ids(second)
    assert sorted(ids(first)) == sorted(ids(second)) == sorted(f"{f}-{v}" for f in range(FILES) for v in range(VIDEOS))
    assert {len(batch) for batch in first[:-1]} == {16}
    assert ids(epochs_of(shards / "train*", bucketing)(1)) == ids(second), "the same for the same seed and epoch"


@pytest.mark.ray
def test_a_damaged_file_is_named(ray_session: None, many_groups: None, shards: Path) -> None:
    epoch = epochs_of(shards)
    damaged = bytearray((shards / "train4.tfrecord").read_bytes())
    damaged[-1] ^= 1
    (shards / "train4.tfrecord").write_bytes(damaged)
    with pytest.raises(DataError, match=rf"train4.tfrecord \(record {VIDEOS - 1}, byte \d+\)"):
        epoch(0)
    (shards / "train4.tfrecord").write_bytes(damaged + b"more")
    with pytest.raises(DataError, match=r"train4.tfrecord: changed since it was listed"):
        epoch(0)
    (shards / "train4.tfrecord").unlink()
    with pytest.raises(MissingInputError, match=r"train4.tfrecord"):
        epoch(0)


def test_the_window_fits_the_schema() -> None:
    assert stream.window_videos(VIDEO) == stream.WINDOW_VIDEOS
    wide = FRAME.model_copy(update={"max_frames": stream.WINDOW_BYTES // 100})
    assert 2 <= stream.window_videos(wide) < stream.WINDOW_VIDEOS


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """The same videos as ``shards`` / train* in three Arrow shards."""
    blocks = [random_block(FRAME, VIDEOS, number) for number in range(FILES)]
    write_dataset(tmp_path / "data", FRAME, [blocks[:1], blocks[1:4], blocks[4:]])
    return tmp_path / "data"


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_converted_folder_or_its_train_split_is_a_source(converted: Path, scheme: str) -> None:
    for folder, prefix in ((converted, "train/"), (converted / "train", "")):
        source = StreamSource.open(f"{scheme}{folder}", FRAME)
        assert [file.name for file in source.files] == [f"{prefix}shard-0000{number}.arrow" for number in range(3)]
        ids = [
            video
            for batch in stream._videos(source.uri, list(source.files), FRAME)
            for video in batch["id"].to_pylist()
        ]
        assert ids == [f"{f}-{v}" for f in range(FILES) for v in range(VIDEOS)]


def test_shards_that_do_not_fit_are_refused(converted: Path) -> None:
    with pytest.raises(DataError, match="another schema than the validation videos"):
        StreamSource.open(converted, VIDEO)
    before = StreamSource.open(converted, FRAME).fingerprint
    manifest = converted / "train/manifest.json"
    text = manifest.read_text()
    manifest.write_text(text[:-9])
    with pytest.raises(StorageError, match=r"manifest.json: is damaged"):
        StreamSource.open(converted, FRAME)
    manifest.write_text(text.replace('"crc32c": ', '"crc32c": 1', 1))
    assert StreamSource.open(converted, FRAME).fingerprint != before, "other bytes under the same name and size"


@pytest.mark.ray
def test_arrow_shards_give_the_same_videos_once_an_epoch(
    ray_session: None, many_groups: None, shards: Path, converted: Path
) -> None:
    epoch = epochs_of(converted)
    first, second = ids(epoch(0)), ids(epoch(1))
    assert first != second
    assert sorted(first) == sorted(second) == sorted(ids(epochs_of(shards / "train*")(0)))
    shard = converted / "train/shard-00001.arrow"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    with pytest.raises(
        StorageError, match=r"shard-00001.arrow: is damaged: its \d+ bytes are not those of the manifest"
    ):
        epoch(0)
    shard.unlink()
    with pytest.raises(MissingInputError, match=r"shard-00001.arrow"):
        epoch(0)
