"""One record of any shape as a video under a schema: the general path, and the sentences for what does not fit."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeIs

from dmlray.data.example import Example, MalformedError, Values, decode
from dmlray.data.schema import Modality, Schema


class Video(NamedTuple):
    """Features by modality name: (T, D) uint8 for a frame-level schema, (1, D) float32 for a video-level one."""

    id: str
    labels: NDArray[np.int64]
    features: dict[str, NDArray[np.uint8] | NDArray[np.float32]]


def decode_video(data: memoryview, schema: Schema) -> Video:
    """Decode one record. Raises MalformedError, naming the feature, if the schema's features are not as it says.

    What is in other features does not matter.
    """
    names = {schema.id_feature, schema.labels_feature, *(modality.feature for modality in schema.modalities)}
    example = decode(data, [name for name in names if name is not None])
    features = {modality.name: _matrix(example, modality, schema.level) for modality in schema.modalities}
    if schema.level == "frame":
        _check_frames(features, schema)
    return Video(_id(example, schema.id_feature), _labels(example, schema), features)


def unique_labels(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each label once, in the order of first appearance: to the official reader labels are a set."""
    _, first = np.unique(labels, return_index=True)
    return labels if len(first) == len(labels) else labels[np.sort(first)]


def _id(example: Example, name: str) -> str:
    values = _feature(example, name)
    if not isinstance(values, list) or len(values) != 1:
        raise MalformedError(f"feature {name!r} must be one string, found {describe(values)}")
    try:
        return values[0].decode()
    except UnicodeDecodeError as error:
        raise MalformedError(f"feature {name!r} must be a UTF-8 string, found {values[0][:40]!r}") from error


def _labels(example: Example, schema: Schema) -> NDArray[np.int64]:
    name = schema.labels_feature
    values = _feature(example, name) if name is not None else None
    if values is None:
        return np.empty(0, np.int64)
    if isinstance(values, list) or not is_ints(values):
        raise MalformedError(f"feature {name!r} must be int64 class indices, found {describe(values)}")
    outside = values[(values < 0) | (values >= schema.classes)]
    if len(outside):
        raise MalformedError(f"feature {name!r} must hold classes from 0 to {schema.classes - 1}, found {outside[0]}")
    return unique_labels(values)


def _matrix(example: Example, modality: Modality, level: str) -> NDArray[np.uint8] | NDArray[np.float32]:
    if level == "frame":
        return _frames(example, modality)
    values = _feature(example, modality.feature)
    if values is None or isinstance(values, list) or is_ints(values) or len(values) != modality.width:
        raise MalformedError(f"feature {modality.feature!r} must be {modality.width} floats, found {describe(values)}")
    return values.reshape(1, -1)


def _frames(example: Example, modality: Modality) -> NDArray[np.uint8]:
    if modality.feature not in example.feature_lists:
        raise MalformedError(_missing(modality.feature, "feature list", [*example.feature_lists]))
    frames = []
    for number, values in enumerate(example.feature_lists[modality.feature]):
        if not isinstance(values, list) or len(values) != 1 or len(values[0]) != modality.width:
            raise MalformedError(
                f"feature list {modality.feature!r} must hold one string of {modality.width} bytes a frame, "
                f"found {describe(values)} in frame {number}"
            )
        frames.append(values[0])
    return np.frombuffer(b"".join(frames), np.uint8).reshape(-1, modality.width)


def _check_frames(features: dict[str, NDArray[np.uint8] | NDArray[np.float32]], schema: Schema) -> None:
    counts = {modality.feature: len(features[modality.name]) for modality in schema.modalities}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{count} in {name!r}" for name, count in counts.items())
        raise MalformedError(f"feature lists must have the same number of frames, found {found}")
    if not next(iter(counts.values())):
        raise MalformedError(f"feature list {schema.modalities[0].feature!r} must have at least one frame, found none")


def _feature(example: Example, name: str) -> Values:
    if name not in example.features:
        raise MalformedError(_missing(name, "feature", [*example.features]))
    return example.features[name]


def _missing(name: str, what: str, found: list[str]) -> str:
    shown = ", ".join(repr(key) for key in found[:8]) + (", ..." if len(found) > 8 else "")
    return f"{what} {name!r} is missing, found {shown or 'none'}"


def is_ints(values: NDArray[np.float32] | NDArray[np.int64]) -> TypeIs[NDArray[np.int64]]:
    """Whether a feature's array is an Int64List rather than a FloatList."""
    return values.dtype == np.int64


def describe(values: Values) -> str:
    """A feature's type and size in words."""
    if values is None:
        return "no value"
    if not isinstance(values, list):
        return f"{len(values)} {'ints' if is_ints(values) else 'floats'}"
    return f"a string of {len(values[0])} bytes" if len(values) == 1 else f"{len(values)} strings"
