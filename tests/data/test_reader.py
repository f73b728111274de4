"""Videos of a shard: the vectorised path agrees with the general one, and what does not fit the schema is named."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmlray.data.columns import Columns, VideoBlock
from dmlray.data.example import MalformedError
from dmlray.data.reader import BadRecord, read_videos
from dmlray.data.schema import PRESETS, Schema
from dmlray.data.tfrecord import read_chunks
from dmlray.data.video import decode_video
from dmlray.errors import DataError, MissingInputError
from tests.data.encoder import (
    bytes_feature,
    entry,
    example,
    feature_list,
    field,
    float_feature,
    frames,
    int_feature,
    write,
)
from tests.data.wire_law import FRAME, VIDEO


def frame_record(**changes: bytes | None) -> bytes:
    parts = {
        "id": bytes_feature([b"abcd"]),
        "labels": int_feature([7, 299]),
        "rgb": frames([b"12345", b"67890"]),
        "audio": frames([bytes(130), bytes(range(130))]),
    } | changes
    kept = {key: value for key, value in parts.items() if value is not None}
    lists = ("rgb", "audio")
    return example(
        {key: value for key, value in kept.items() if key not in lists},
        {key: value for key, value in kept.items() if key in lists},
    )


def video_record(**changes: bytes | None) -> bytes:
    parts = {
        "id": bytes_feature([b"abcd"]),
        "labels": int_feature([7, 299]),
        "mean_rgb": float_feature([1, 2, 3]),
        "mean_audio": float_feature([4, 5]),
    } | changes
    return example({key: value for key, value in parts.items() if value is not None})


def only_block(path: str, schema: Schema) -> VideoBlock:
    (block,) = read_videos(path, schema)
    return block


def labels(block: VideoBlock, video: int) -> list[int]:
    values: list[int] = block.label_values[block.label_offsets[video] : block.label_offsets[video + 1]].tolist()
    return values


def test_frame_level_block(tmp_path: Path) -> None:
    one = frame_record(
        id=bytes_feature(["zwölf".encode()]),
        labels=int_feature([]),
        rgb=frames([b"abcde"] * 1),
        audio=frames([b"x" * 130]),
    )
    block = only_block(write(tmp_path / "a", [frame_record(), one, frame_record()]), FRAME)
    assert block.ids == ["abcd", "zwölf", "abcd"]
    assert [labels(block, video) for video in range(3)] == [[7, 299], [], [7, 299]]
    assert block.frame_offsets is not None
    assert block.frame_offsets.tolist() == [0, 2, 3, 5]
    assert block.features["visual"].tobytes() == b"1234567890abcde1234567890"
    assert block.features["audio"].shape == (5, 130)
    assert block.features["audio"][4].tolist() == [*range(130)]


def test_video_level_block(tmp_path: Path) -> None:
    block = only_block(write(tmp_path / "a", [video_record(), video_record(labels=int_feature([0]))]), VIDEO)
    assert [labels(block, video) for video in range(2)] == [[7, 299], [0]]
    assert block.frame_offsets is None
    assert block.features["visual"].tolist() == [[1, 2, 3], [1, 2, 3]]
    assert block.features["audio"].dtype == np.float32


def shuffled(parts: dict[str, bytes], order: list[str], value_first: bool) -> bytes:
    return b"".join(entry(key, parts[key], value_first) for key in order)


RECORDS = st.fixed_dictionaries(
    {
        "id": st.text(max_size=6),
        "labels": st.lists(st.integers(0, 299), max_size=4) | st.lists(st.integers(-1, 400), max_size=6),
        "frames": st.integers(0, 4),
        "packed": st.booleans(),
        "longer": st.integers(0, 4),
        "value_first": st.booleans(),
        "extra": st.booleans(),
        "order": st.permutations(["id", "labels", "mean_rgb", "mean_audio"]),
        "flips": st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=2),
    }
)


def build(case: dict[str, object], level: str) -> bytes:
    """A record of that case: mostly as it should be, sometimes unusual, sometimes with bytes replaced."""
    seed = np.random.default_rng(len(str(case)))
    parts = {
        "id": bytes_feature([str(case["id"]).encode()]),
        "labels": int_feature(case["labels"], case["packed"], case["longer"]),  # type: ignore[arg-type]
        "mean_rgb": float_feature(seed.random(3), case["packed"]),  # type: ignore[arg-type]
        "mean_audio": float_feature(seed.random(2)),
    }
    order: list[str] = case["order"]  # type: ignore[assignment]
    value_first = bool(case["value_first"])
    if level == "frame":
        order = [name for name in order if not name.startswith("mean")]
    context = shuffled(parts, order, value_first) + (entry("other", float_feature([1.0])) if case["extra"] else b"")
    record = field(1, context)
    if level == "frame":
        rows = {m.feature: frames([seed.bytes(m.width) for _ in range(case["frames"])]) for m in FRAME.modalities}  # type: ignore[call-overload]
        record += field(2, shuffled(rows, ["audio", "rgb"] if case["extra"] else ["rgb", "audio"], value_first))
    elif case["extra"]:
        record += b"\x12\x00"
    damaged = bytearray(record)
    for where, value in case["flips"]:  # type: ignore[attr-defined]
        damaged[int(where * len(damaged))] = value
    return bytes(damaged)


@pytest.mark.parametrize("schema", [FRAME, VIDEO], ids=["frame", "video"])
@given(cases=st.lists(RECORDS, min_size=1, max_size=5))
@settings(deadline=None, max_examples=120)
@pytest.mark.thorough
def test_vectorised_path_agrees_with_the_general_one(
    schema: Schema, cases: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(
        tmp_path_factory.getbasetemp() / f"agree-{schema.level}", [build(case, schema.level) for case in cases]
    )
    (chunk,) = read_chunks(path)
    columns = Columns(chunk, schema)
    lanes = np.flatnonzero(columns.ok)
    block = columns.block(columns.ok)
    assert len(block) == len(lanes)
    for position, lane in enumerate(lanes.tolist()):
        video = decode_video(chunk.data(lane), schema)  # raises if the vectorised path took what it should not
        assert block.ids[position] == video.id
        assert labels(block, position) == video.labels.tolist()
        for name, wanted in video.features.items():
            rows = slice(position, position + 1)
            if block.frame_offsets is not None:
                rows = slice(*block.frame_offsets[position : position + 2])
            assert block.features[name][rows].tobytes() == wanted.tobytes()


@pytest.mark.parametrize("level", ["frame", "video"])
def test_plain_records_take_the_vectorised_path(level: str, tmp_path: Path) -> None:
    """Otherwise the law above would hold of nothing."""
    record, schema = (frame_record, FRAME) if level == "frame" else (video_record, VIDEO)
    records = [record(), record(extra=float_feature([1.0])), record() + (b"" if level == "frame" else b"\x12\x00")]
    (chunk,) = read_chunks(write(tmp_path / "a", records))
    assert Columns(chunk, schema).ok.all()


def test_irregular_records_stand_in_their_order(tmp_path: Path) -> None:
    unusual = video_record(labels=int_feature([5, 1, 5], packed=False), mean_rgb=float_feature([9, 9, 9], packed=False))
    empty = video_record(labels=b"")
    path = write(tmp_path / "a", [video_record(), unusual, video_record(labels=int_feature([4])), empty])
    block = only_block(path, VIDEO)
    assert [labels(block, video) for video in range(4)] == [[7, 299], [5, 1], [4], []]
    assert block.features["visual"][:, 0].tolist() == [1, 9, 1, 1]


def test_irregular_frames(tmp_path: Path) -> None:
    unusual = feature_list([b"\x28\x01" + bytes_feature([b"abcde"]), bytes_feature([b"fghij"])])
    block = only_block(write(tmp_path / "a", [frame_record(), frame_record(rgb=unusual), frame_record()]), FRAME)
    assert block.features["visual"].tobytes() == b"1234567890abcdefghij1234567890"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"id": None}, "feature 'id' is missing, found 'labels'"),
        ({"id": int_feature([3])}, "feature 'id' must be one string, found 1 ints"),
        ({"id": bytes_feature([b"a", b"b"])}, "feature 'id' must be one string, found 2 strings"),
        ({"id": bytes_feature([b"\xff"])}, "feature 'id' must be a UTF-8 string"),
        ({"labels": None}, "feature 'labels' is missing, found 'id'"),
        ({"labels": float_feature([1.0])}, "'labels' must be int64 class indices, found 1 floats"),
        ({"labels": int_feature([3, 300])}, "'labels' must hold classes from 0 to 299, found 300"),
        ({"labels": int_feature([-1])}, "'labels' must hold classes from 0 to 299, found -1"),
        ({"labels": int_feature([1 << 40])}, "classes from 0 to 299, found 1099511627776"),
        ({"rgb": None}, "feature list 'rgb' is missing, found 'audio'"),
        ({"rgb": frames([b"12345", b"1234"])}, "'rgb' must hold one string of 5 bytes a frame, found a string of 4"),
        ({"rgb": frames([b"123456"] * 2)}, "found a string of 6 bytes in frame 0"),
        ({"rgb": feature_list([float_feature([1.0] * 5)] * 2)}, "found 5 floats in frame 0"),
        ({"rgb": frames([b"12345"])}, "same number of frames, found 1 in 'rgb', 2 in 'audio'"),
        ({"rgb": b"", "audio": b""}, "'rgb' must have at least one frame"),
    ],
)
def test_frame_level_misfit_is_named(changes: dict[str, bytes | None], problem: str, tmp_path: Path) -> None:
    good, bad = frame_record(), frame_record(**changes)
    path = write(tmp_path / "shard", [good, bad, good])
    with pytest.raises(DataError, match=problem) as raised:
        list(read_videos(path, FRAME))
    assert (raised.value.path, raised.value.record, raised.value.offset) == (path, 1, len(good) + 16)
    handed: list[BadRecord] = []
    assert [len(block) for block in read_videos(path, FRAME, on_bad=handed.append)] == [2]
    assert [(one.record, one.offset, one.data, one.damaged) for one in handed] == [(1, len(good) + 16, bad, False)]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"mean_rgb": None}, "feature 'mean_rgb' is missing, found 'id', 'labels', 'mean_audio'"),
        ({"mean_rgb": float_feature([1, 2])}, "feature 'mean_rgb' must be 3 floats, found 2 floats"),
        ({"mean_rgb": int_feature([1, 2, 3])}, "feature 'mean_rgb' must be 3 floats, found 3 ints"),
        ({"mean_rgb": bytes_feature([b"123"])}, "feature 'mean_rgb' must be 3 floats, found a string of 3 bytes"),
        ({"mean_rgb": b""}, "feature 'mean_rgb' must be 3 floats, found no value"),
    ],
)
def test_video_level_misfit_is_named(changes: dict[str, bytes | None], problem: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=problem):
        list(read_videos(write(tmp_path / "shard", [video_record(**changes)]), VIDEO))


def test_each_level_read_as_the_other_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="feature list 'rgb' is missing, found none"):
        list(read_videos(write(tmp_path / "video", [video_record()]), FRAME))
    with pytest.raises(DataError, match="feature 'mean_rgb' is missing"):
        list(read_videos(write(tmp_path / "frame", [frame_record()]), VIDEO))


def test_last_of_equal_keys_wins(tmp_path: Path) -> None:
    doubled = video_record() + example({"mean_rgb": float_feature([7, 8, 9])})
    inside = field(1, b"".join(entry(k, int_feature([n])) for n, k in enumerate(["labels", "labels"])))
    block = only_block(write(tmp_path / "a", [doubled, video_record() + inside]), VIDEO)
    assert block.features["visual"].tolist() == [[7, 8, 9], [1, 2, 3]]
    assert labels(block, 1) == [1]


def test_blocks_are_bounded_and_nothing_is_lost(tmp_path: Path) -> None:
    records = [video_record(id=bytes_feature([str(number).encode()])) for number in range(11)]
    blocks = list(read_videos(write(tmp_path / "a", records), VIDEO, block_videos=4))
    assert [len(block) for block in blocks] == [4, 4, 3]
    assert [video for block in blocks for video in block.ids] == [str(number) for number in range(11)]


@pytest.mark.parametrize("packed", [True, False], ids=["vectorised", "general"])
def test_features_outside_the_schema_do_not_matter(packed: bool, tmp_path: Path) -> None:
    wrong = field(1, entry("other", b"\xff") + field(1, field(1, b"\xff") + field(2, b"")))
    features = example({"labels": int_feature([7], packed), "other": b"\xff", "id": bytes_feature([b"x"])})
    means = {"mean_rgb": float_feature([1, 2, 3]), "mean_audio": float_feature([4, 5])}
    block = only_block(write(tmp_path / "a", [features + example(means) + wrong, video_record(other=b"\xff")]), VIDEO)
    assert block.ids == ["x", "abcd"]
    assert block.features["visual"].tolist() == [[1, 2, 3]] * 2


def test_map_of_many_entries_is_read(tmp_path: Path) -> None:
    """More entries than the vectorised path walks."""
    many = {f"key{number}": int_feature([number]) for number in range(100)}
    block = only_block(write(tmp_path / "a", [video_record(**many)]), VIDEO)  # type: ignore[arg-type]
    assert labels(block, 0) == [7, 299]


@pytest.mark.parametrize("level", ["frame", "video"])
def test_records_without_labels(level: str, tmp_path: Path) -> None:
    record, schema = (frame_record, FRAME) if level == "frame" else (video_record, VIDEO)
    path = write(tmp_path / "a", [record(labels=None), record(labels=None) + bytes([0x78, 0]), record()])
    block = only_block(path, schema.model_copy(update={"labels_feature": None}))
    assert block.ids == ["abcd"] * 3
    assert block.label_offsets.tolist() == [0, 0, 0, 0]
    with pytest.raises(DataError, match="feature 'labels' is missing"):
        only_block(path, schema)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError):
        list(read_videos(str(tmp_path / "none"), VIDEO))


def test_general_path_refuses_what_is_no_message() -> None:
    with pytest.raises(MalformedError):
        decode_video(memoryview(b"\xff"), VIDEO)


@pytest.mark.real_data
def test_genuine_frame_level_video(real_data: Path) -> None:
    block = only_block(str(real_data / "yt8m_frame" / "SjJ3.tfrecord"), PRESETS["yt8m-frame"])
    with np.load(real_data / "yt8m_frame" / "SjJ3.npz") as arrays:
        assert block.ids == [str(arrays["id"])]
        assert labels(block, 0) == arrays["labels"].tolist()
        np.testing.assert_array_equal(block.features["visual"], arrays["rgb"])
        np.testing.assert_array_equal(block.features["audio"], arrays["audio"])


@pytest.mark.real_data
def test_genuine_video_level_shards(real_data: Path) -> None:
    """Facts of the data's README: 243 to 342 videos a shard, about 26,000 in all, the range of 8-bit means."""
    shards = sorted((real_data / "yt8m_video").iterdir())
    assert len(shards) == 90
    counts = []
    for shard in shards:
        blocks = list(read_videos(str(shard), PRESETS["yt8m-video"]))
        counts.append(sum(map(len, blocks)))
        for block in blocks:
            assert all(len(video) == 4 for video in block.ids)
            assert np.diff(block.label_offsets).min() >= 1
            assert np.diff(block.label_offsets).max() <= 19
            assert all(m.min() > -1.9922 and m.max() < 2.0079 for m in block.features.values())
    assert (min(counts), max(counts)) == (243, 342)
    assert 25_500 < sum(counts) < 26_500


@pytest.mark.real_data
def test_genuine_shard_equals_the_general_decoder(real_data: Path) -> None:
    """Three orders of keys occur: the vectorised path takes them all, and gives what the slow one gives."""
    schema = PRESETS["yt8m-video"]
    for chunk in read_chunks(real_data / "yt8m_video" / "validate0007.tfrecord"):
        columns = Columns(chunk, schema)
        assert columns.ok.all()
        block = columns.block(columns.ok)
        for lane in range(len(block)):
            video = decode_video(chunk.data(lane), schema)
            assert (block.ids[lane], labels(block, lane)) == (video.id, video.labels.tolist())
            for name, wanted in video.features.items():
                np.testing.assert_array_equal(block.features[name][lane], wanted[0])


@pytest.mark.real_data
@pytest.mark.parametrize(("folder", "pattern", "clips"), [("train", "-*.tfrecord", 459)])
def test_genuine_audioset(real_data: Path, folder: str, pattern: str, clips: int) -> None:
    blocks = [
        block
        for path in sorted((real_data / "audioset" / folder).glob(pattern))
        for block in read_videos(str(path), PRESETS["audioset"])
    ]
    assert sum(map(len, blocks)) == clips
    lengths = np.concatenate([np.diff(block.frame_offsets) for block in blocks if block.frame_offsets is not None])
    assert lengths.min() >= 1
    assert lengths.max() == 10
    assert (lengths == 10).mean() > 0.95


@pytest.mark.real_data
@pytest.mark.slow
def test_all_of_audioset(real_data: Path) -> None:
    def clips(folder: str) -> int:
        paths = (real_data / "audioset" / folder).iterdir()
        return sum(len(block) for path in paths for block in read_videos(str(path), PRESETS["audioset"]))

    assert clips("train") == 22_160
