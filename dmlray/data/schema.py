"""What a TFRecord of videos holds: its level, modalities, classes and on-disk names."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, PositiveInt, ValidationError, model_validator

from dmlray.config import Config
from dmlray.config.problem import first_problem
from dmlray.errors import ConfigError, MissingInputError

Name = Annotated[str, Field(min_length=1)]


class Modality(Config):
    """One kind of feature. ``feature`` is its key on disk, ``name`` what dmlray calls it, ``width`` its length D.

    ``minimum`` and ``maximum`` are the range that uint8 values were quantised from; float32 values stay as they are.
    """

    name: Name
    feature: Name
    width: PositiveInt
    dtype: Literal["uint8", "float32"]
    minimum: float = -2.0
    maximum: float = 2.0

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> "Modality":
        if not self.minimum < self.maximum:
            raise ValueError("`minimum` must be below `maximum`")
        return self


class Schema(Config):
    """A frame-level record has one uint8 string per frame (SequenceExample), a video-level one float32 vectors.

    ``max_frames`` is the most that training sees of a video; converted shards keep every frame. Where
    ``labels_feature`` is None, the records are read without labels, as those of a challenge's test set are.
    """

    level: Literal["frame", "video"]
    modalities: Annotated[tuple[Modality, ...], Field(min_length=1)]
    classes: PositiveInt
    id_feature: Name = "id"
    labels_feature: Name | None = "labels"
    max_frames: PositiveInt = 300

    @model_validator(mode="after")
    def _parts_fit(self) -> "Schema":
        names = [modality.name for modality in self.modalities]
        features = [self.id_feature, *(modality.feature for modality in self.modalities)]
        features += [] if self.labels_feature is None else [self.labels_feature]
        if len(set(names)) < len(names) or {"id", "labels"} & set(names):
            raise ValueError("modality names must differ from each other, from `id` and from `labels`")
        if len(set(features)) < len(features):
            raise ValueError("on-disk feature names must differ from each other")
        needed = "uint8" if self.level == "frame" else "float32"
        if any(modality.dtype != needed for modality in self.modalities):
            raise ValueError(f"modalities of a {self.level}-level schema must have dtype {needed}")
        return self


PRESETS: dict[str, Schema] = {
    "yt8m-frame": Schema(
        level="frame",
        modalities=(
            Modality(name="visual", feature="rgb", width=1024, dtype="uint8"),
            Modality(name="audio", feature="audio", width=128, dtype="uint8"),
        ),
        classes=3862,
    ),
    "yt8m-video": Schema(
        level="video",
        modalities=(
            Modality(name="visual", feature="mean_rgb", width=1024, dtype="float32"),
            Modality(name="audio", feature="mean_audio", width=128, dtype="float32"),
        ),
        classes=3862,
    ),
    "audioset": Schema(
        level="frame",
        modalities=(Modality(name="audio", feature="audio_embedding", width=128, dtype="uint8"),),
        classes=527,
        id_feature="video_id",
    ),
}


def load_schema(name_or_path: str | Path) -> Schema:
    """The preset of that name, or the schema in that YAML file.

    Raises MissingInputError when it is neither, ConfigError naming file and field when the file is not a schema.
    """
    preset = PRESETS.get(str(name_or_path))
    if preset is not None:
        return preset
    path = Path(name_or_path)
    if not path.is_file():
        raise MissingInputError(path, f"schema file (and no preset of that name: {', '.join(PRESETS)})")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}", "something else", "a schema in YAML") from error
    if not isinstance(content, dict):
        raise ConfigError(str(path), content, "a schema in YAML")
    try:
        return Schema.model_validate(content)
    except ValidationError as error:
        found = first_problem(error)
        raise ConfigError(f"{path}: {found.field or 'the schema'}", found.value, found.expected) from error


def schema_yaml(schema: Schema) -> str:
    """The schema as ``load_schema`` reads it."""
    return yaml.safe_dump(schema.model_dump(mode="json"), sort_keys=False)
