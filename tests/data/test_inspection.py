"""Inspection: what is in a shard, what is wrong with it, and the schema of a strange one."""

from pathlib import Path

import pytest

from dmlray.data.inspection import guess_schema, inspect_shards
from dmlray.data.schema import PRESETS, load_schema, schema_yaml
from dmlray.data.synthetic import synthesize
from dmlray.data.synthetic_world import SynthSpec
from dmlray.errors import DataError, MissingInputError
from tests.data.encoder import bytes_feature, example, feature_list, float_feature, frames, int_feature, write


def audio_clip(label: int, length: int, **more: bytes) -> bytes:
    features = {"video_id": bytes_feature([b"xyz"]), "labels": int_feature([label]), **more}
    return example(features, {"audio_embedding": frames([bytes(128)] * length)})


def test_counts_labels_and_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [audio_clip(3, 1), audio_clip(3, 10), audio_clip(9, 4)])
    found = inspect_shards([path, path])
    assert (found.files, found.records, found.videos, found.kind) == (2, 6, 6, "SequenceExample")
    assert found.size_bytes == 2 * (tmp_path / "a").stat().st_size
    assert found.top_labels == ((3, 4), (9, 2))
    assert found.distinct_labels == 2
    assert found.frames_per_video is not None
    assert found.frames_per_video.model_dump() == {"minimum": 1, "mean": 5.0, "maximum": 10}
    assert found.labels_per_video is not None
    assert found.labels_per_video.maximum == 1
    assert (found.is_intact, found.problems) == (True, ())
    assert [(f.name, f.is_list, f.type, f.width and f.width.maximum, f.records) for f in found.features] == [
        ("labels", False, "int", 1, 6),
        ("video_id", False, "bytes", 3, 6),
        ("audio_embedding", True, "bytes", 128, 6),
    ]
    assert found.data_schema == PRESETS["audioset"]


def test_classes_beyond_the_preset_make_another_schema(tmp_path: Path) -> None:
    guessed = guess_schema([write(tmp_path / "a", [audio_clip(600, 2)])])
    assert guessed == PRESETS["audioset"].model_copy(update={"classes": 601})


def test_strange_shards_are_guessed(tmp_path: Path) -> None:
    record = example(
        {
            "label": int_feature([4, 2]),
            "name": bytes_feature([b"a"]),
            "score": float_feature([0.5]),
            "clip": float_feature([1.0] * 7),
            "image_mean": float_feature([1.0] * 5),
            "ragged": float_feature([1.0] * 2),
        }
    )
    other = example(
        {
            "ragged": float_feature([1.0] * 3),
            "clip": float_feature([2.0] * 7),
            "image_mean": float_feature([1.0] * 5),
            "score": float_feature([0.5]),
            "label": int_feature([]),
            "name": bytes_feature([b"b"]),
        }
    )
    schema = guess_schema([write(tmp_path / "a", [record, other])])
    assert [(m.name, m.feature, m.width, m.dtype) for m in schema.modalities] == [
        ("visual", "image_mean", 5, "float32"),
        ("clip", "clip", 7, "float32"),
    ]
    assert (schema.level, schema.classes, schema.id_feature, schema.labels_feature) == ("video", 5, "name", "label")
    (tmp_path / "schema.yaml").write_text(schema_yaml(schema))
    assert load_schema(tmp_path / "schema.yaml") == schema


@pytest.mark.parametrize(
    ("record", "lacking"),
    [
        (example({"labels": int_feature([1]), "x": float_feature([1, 2])}), "no feature can be the id"),
        (example({"id": bytes_feature([b"a"]), "x": float_feature([1, 2])}), "no feature can be the labels"),
        (example({"id": bytes_feature([b"a"]), "labels": int_feature([1])}), "no feature has strings or floats"),
        (
            example(
                {"id": bytes_feature([b"a"])}, {"x": feature_list([bytes_feature([b"a"]), bytes_feature([b"bc"])])}
            ),
            "no feature has strings or floats of one constant length",
        ),
    ],
)
def test_unguessable_shard_says_what_is_lacking(record: bytes, lacking: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a", [record])
    with pytest.raises(DataError, match=lacking):
        guess_schema([path])
    found = inspect_shards([path])  # still tells what it can
    assert (found.records, found.videos, found.data_schema) == (1, 0, None)
    assert found.unguessed is not None
    assert lacking in found.unguessed


def test_no_records(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [])
    found = inspect_shards([path])
    assert (found.records, found.frames_per_video, found.top_labels) == (0, None, ())
    with pytest.raises(DataError, match="without records"):
        guess_schema([path])


def test_damage_is_counted_and_named(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "a", [audio_clip(1, 2), audio_clip(2, 2), audio_clip(3, 2)]))
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    found = inspect_shards([path])
    assert (found.records, found.videos, found.is_intact) == (3, 2, False)
    assert [problem.split(": ")[1] for problem in found.problems] == ["the checksum of the record's data is wrong"]
    assert "record 2" in found.problems[0]


def test_misfit_is_no_damage(tmp_path: Path) -> None:
    path = write(tmp_path / "a", [audio_clip(1, 2), audio_clip(700, 2)])
    found = inspect_shards([path], PRESETS["audioset"])
    assert (found.records, found.videos, found.is_intact, len(found.problems)) == (2, 1, True, 1)
    assert found.data_schema == PRESETS["audioset"]


def test_record_that_departs_from_the_sample_is_named(tmp_path: Path) -> None:
    records = [audio_clip(1, 2)] * 64 + [example({"video_id": bytes_feature([b"x"])})]
    with pytest.raises(DataError, match=r"record 64.*'labels' is missing|record 64.*'audio_embedding' is missing"):
        guess_schema([write(tmp_path / "a", records)])


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello, this is some text")
    with pytest.raises(DataError, match="not a TFRecord file"):
        inspect_shards([tmp_path / "text"])
    with pytest.raises(MissingInputError):
        inspect_shards([tmp_path / "missing"])


@pytest.mark.parametrize("level", ["frame", "video"])
def test_synthetic_data_is_guessed_as_it_was_made(level: str, tmp_path: Path) -> None:
    spec = SynthSpec.model_validate(
        {"level": level, "train": 200, "validation": 1, "test": 0, "shards": 1, "classes": 9, "max_frames": 12}
    )
    synthesize(tmp_path / "out", spec)
    made = load_schema(tmp_path / "out" / "schema.yaml")
    guessed = guess_schema([tmp_path / "out" / "train" / "train0000.tfrecord"])
    assert guessed.model_copy(update={"max_frames": made.max_frames}) == made


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("pattern", "preset"),
    [
        ("yt8m_video/validate000[0-2].tfrecord", "yt8m-video"),
        ("yt8m_frame/*.tfrecord", "yt8m-frame"),
        ("audioset/eval/-*.tfrecord", "audioset"),
    ],
)
def test_genuine_shards_are_recognised(real_data: Path, pattern: str, preset: str) -> None:
    from tfrecord.reader import tfrecord_iterator

    paths = sorted(real_data.glob(pattern))
    found = inspect_shards(paths)
    assert found.data_schema == PRESETS[preset] == guess_schema(paths)
    assert found.is_intact
    assert found.videos == found.records == sum(1 for path in paths for _ in tfrecord_iterator(str(path)))
