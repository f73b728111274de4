"""The schema that a few decoded records of a strange shard suggest."""

from collections.abc import Callable, Iterable, Sequence

from dmlray.data.example import Example, Values
from dmlray.data.schema import PRESETS, Modality, Schema
from dmlray.data.video import is_ints
from dmlray.data.wire import MAX_INT
from dmlray.errors import DataError

_ID_NAMES = ("id", "video_id")
_LABEL_NAMES = ("labels", "label")
_VISUAL_WORDS = ("rgb", "video", "visual", "image")


def guess_structure(path: str, examples: Sequence[Example]) -> Schema:
    """A schema that all ``examples`` fit, with room for every class: ``with_classes`` puts that right.

    Feature lists of one string of constant length a frame are uint8 modalities; without any, float features of
    constant length above 1 are video-level modalities. Raises DataError, naming what is lacking.
    """
    if not examples:
        raise DataError(path, "no schema can be guessed without records")
    lists = {name: _same(_frame_width(one.feature_lists[name]) for one in examples) for name in _common(examples, 1)}
    vectors = {name: _same(_vector_width(one.features[name]) for one in examples) for name in _common(examples, 0)}
    level, chosen = ("frame", lists) if any(lists.values()) else ("video", vectors)
    widths = {name: width for name, width in chosen.items() if width and name not in (*_ID_NAMES, *_LABEL_NAMES)}
    if not widths:
        raise DataError(path, "no schema can be guessed: no feature has strings or floats of one constant length")
    return Schema(
        level="frame" if level == "frame" else "video",
        modalities=tuple(
            Modality(
                name=name, feature=feature, width=widths[feature], dtype="uint8" if level == "frame" else "float32"
            )
            for feature, name in _names(list(widths)).items()
        ),
        classes=MAX_INT + 1,
        id_feature=_pick(path, "id (one string)", _ID_NAMES, examples, _is_string),
        labels_feature=_pick(path, "labels (ints)", _LABEL_NAMES, examples, _is_labels),
    )


def with_classes(schema: Schema, largest_label: int) -> Schema:
    """The preset that differs from ``schema`` in its classes alone, if the label fits it; else just enough classes."""
    for preset in PRESETS.values():
        if largest_label < preset.classes and schema.model_copy(update={"classes": preset.classes}) == preset:
            return preset
    return schema.model_copy(update={"classes": max(largest_label + 1, 1)})


def _common(examples: Sequence[Example], part: int) -> list[str]:
    """Names that every example has among its features (part 0) or feature lists (part 1)."""
    return sorted(set.intersection(*(set(example[part]) for example in examples)))


def _names(features: list[str]) -> dict[str, str]:
    """A modality's name for each feature, `visual` first: a second one that sounds visual keeps its own name."""
    names: dict[str, str] = {}
    for feature in features:
        lower = feature.lower()
        visual = any(word in lower for word in _VISUAL_WORDS)
        name = "audio" if "audio" in lower else "visual" if visual else feature
        names[feature] = feature if name in names.values() else name
    return dict(sorted(names.items(), key=lambda item: item[1] != "visual"))


def _pick(
    path: str, what: str, preferred: Sequence[str], examples: Sequence[Example], fits: Callable[[Values], bool]
) -> str:
    """The feature with one of the ``preferred`` names, else the first that fits in every example."""
    fitting = [name for name in _common(examples, 0) if all(fits(example.features[name]) for example in examples)]
    for name in (*preferred, *fitting):
        if name in fitting:
            return name
    raise DataError(path, f"no schema can be guessed: no feature can be the {what}")


def _same(widths: Iterable[int]) -> int:
    """The width that all have, 0 if there is none."""
    found = set(widths)
    return found.pop() if len(found) == 1 else 0


def _frame_width(frames: list[Values]) -> int:
    """Bytes in each frame of a feature list, 0 if they are not all one string of the same length."""
    return _same(len(values[0]) if isinstance(values, list) and len(values) == 1 else 0 for values in frames)


def _vector_width(values: Values) -> int:
    if values is None or isinstance(values, list) or is_ints(values) or len(values) < 2:
        return 0
    return len(values)


def _is_string(values: Values) -> bool:
    return isinstance(values, list) and len(values) == 1


def _is_labels(values: Values) -> bool:
    return values is None or (not isinstance(values, list) and is_ints(values))
