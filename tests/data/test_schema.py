"""Schemas: presets say what the data's own documentation says, and a file that is no schema is told where."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from dmlray.data.schema import PRESETS, Modality, Schema, load_schema, schema_yaml
from dmlray.errors import ConfigError, MissingInputError

RGB = {"name": "visual", "feature": "rgb", "width": 8, "dtype": "uint8"}
GOOD = {"level": "frame", "modalities": [RGB], "classes": 5}


@pytest.mark.parametrize("name", PRESETS)
def test_yaml_reads_back_as_the_schema(name: str, tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text(schema_yaml(PRESETS[name]))
    assert load_schema(path) == load_schema(name) == PRESETS[name]


def test_presets_are_the_published_ones() -> None:
    frame, video, audioset = PRESETS["yt8m-frame"], PRESETS["yt8m-video"], PRESETS["audioset"]
    assert [(m.name, m.feature, m.width) for m in frame.modalities] == [
        ("visual", "rgb", 1024),
        ("audio", "audio", 128),
    ]
    assert [(m.feature, m.dtype) for m in video.modalities] == [("mean_rgb", "float32"), ("mean_audio", "float32")]
    assert (frame.classes, video.classes, audioset.classes) == (3862, 3862, 527)
    assert (audioset.id_feature, len(audioset.modalities)) == ("video_id", 1)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"classes": 0}, "greater than 0"),
        ({"classes": 5, "lasses": 5}, "lasses"),
        ({"modalities": []}, "at least 1"),
        ({"level": "video"}, "video-level schema must have dtype float32"),
        ({"modalities": [RGB, RGB | {"feature": "rgb2"}]}, "names must differ"),
        ({"modalities": [RGB, RGB | {"name": "other"}]}, "feature names must differ"),
        ({"modalities": [RGB | {"name": "id"}]}, "names must differ"),
        ({"modalities": [RGB | {"feature": "labels"}]}, "feature names must differ"),
        ({"modalities": [RGB | {"minimum": 2.0}]}, "`minimum` must be below `maximum`"),
        ({"max_frames": 0}, "greater than 0"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, object], problem: str) -> None:
    Schema.model_validate(GOOD)
    with pytest.raises(ValidationError, match=problem):
        Schema.model_validate(GOOD | changes)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("level: frame\nmodalities: [\n", "schema.yaml:3"),
        ("just words", "schema.yaml must be a schema in YAML"),
        (
            "level: frame\nclasses: 3\nmodalities:\n- {name: a, feature: b, width: none, dtype: uint8}\n",
            "modalities.0.width",
        ),
        ("level: frame\nclasses: 3\n", "modalities"),
    ],
)
def test_bad_file_is_named(text: str, field: str, tmp_path: Path) -> None:
    path = tmp_path / "schema.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=field) as raised:
        load_schema(path)
    assert str(path) in str(raised.value)


def test_neither_preset_nor_file() -> None:
    with pytest.raises(MissingInputError, match="yt8m-frame, yt8m-video, audioset"):
        load_schema("yt8m")


def test_schema_is_immutable() -> None:
    with pytest.raises(ValidationError):
        Modality.model_validate(RGB).width = 3  # type: ignore[misc]
