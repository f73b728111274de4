"""What is in a shard: features, counts, labels and frame lengths, with or without a schema."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pyarrow.fs import FileSystem, LocalFileSystem

from dmlray.config import Config
from dmlray.data.example import Example, Values, decode_record
from dmlray.data.guess import guess_structure, with_classes
from dmlray.data.reader import VideoBlock, read_videos
from dmlray.data.schema import Schema, schema_yaml
from dmlray.data.tfrecord import BadRecord, read_chunks, read_records
from dmlray.data.video import is_ints
from dmlray.errors import DataError

__all__ = ["FeatureSummary", "Inspection", "Spread", "guess_schema", "inspect_shards", "sample_records", "schema_yaml"]

_SAMPLE = 64  # records that are decoded in full
_TOP_LABELS = 20


class Spread(Config):
    """Least, mean and most of a count per video."""

    minimum: int
    mean: float
    maximum: int


class FeatureSummary(Config):
    """A feature (of a list: a frame) in the sampled records. ``width``: its values, or bytes if it is one string."""

    name: str
    is_list: bool
    type: Literal["bytes", "float", "int", "none", "mixed"]
    width: Spread | None
    records: int


class Inspection(Config):
    """What ``inspect_shards`` found; ``model_dump_json`` is the JSON.

    ``features`` come from the first ``sampled`` records, everything else from all. ``records`` counts the bad ones
    too; ``problems`` has a sentence for each, and ``is_intact`` tells that no checksum was wrong and no file cut short.
    ``data_schema`` is the one given or guessed; without any, ``unguessed`` says why, and nothing is known of labels
    and frames. ``top_labels`` are (label, videos), the most frequent first.
    """

    files: int
    size_bytes: int
    kind: Literal["Example", "SequenceExample"]
    records: int
    videos: int
    is_intact: bool
    problems: tuple[str, ...]
    sampled: int
    features: tuple[FeatureSummary, ...]
    data_schema: Schema | None
    unguessed: str | None
    top_labels: tuple[tuple[int, int], ...]
    distinct_labels: int
    labels_per_video: Spread | None
    frames_per_video: Spread | None


class _Tally:
    """Counts over all the records."""

    def __init__(self) -> None:
        self.size_bytes = self.whole = 0
        self.bad: list[BadRecord] = []
        self.labels: Counter[int] = Counter()
        self.label_counts: list[NDArray[np.int64]] = []
        self.frame_counts: list[NDArray[np.int64]] = []

    def add(self, block: VideoBlock) -> None:
        self.whole += len(block)
        self.labels.update(block.label_values.tolist())
        self.label_counts.append(np.diff(block.label_offsets))
        if block.frame_offsets is not None:
            self.frame_counts.append(np.diff(block.frame_offsets))


def inspect_shards(
    paths: Sequence[str | Path], schema: Schema | None = None, *, filesystem: FileSystem | None = None
) -> Inspection:
    """Read every record of the shards, checksums and all; what does not fit ``schema`` is counted, not raised.

    Without ``schema`` it is guessed, as by ``guess_schema``. Raises MissingInputError when a file is not there,
    DataError when a file is no TFRecord at all.
    """
    examples, unguessed, structure = sample_records(paths, filesystem), None, schema
    if schema is None:
        try:
            structure = guess_structure(str(paths[0]), examples)
        except DataError as error:
            unguessed = error.problem
    tally = _tally(paths, structure, filesystem)
    if schema is None and structure is not None:
        structure = with_classes(structure, max(tally.labels, default=0))
    return Inspection(
        files=len(paths),
        size_bytes=tally.size_bytes,
        kind="SequenceExample" if any(example.feature_lists for example in examples) else "Example",
        records=tally.whole + len(tally.bad),
        videos=tally.whole if structure is not None else 0,
        is_intact=not any(bad.damaged for bad in tally.bad),
        problems=tuple(str(DataError(bad.path, bad.problem, bad.record, bad.offset)) for bad in tally.bad),
        sampled=len(examples),
        features=tuple(_summaries(examples)),
        data_schema=structure,
        unguessed=unguessed,
        top_labels=tuple(sorted(tally.labels.items(), key=lambda item: (-item[1], item[0]))[:_TOP_LABELS]),
        distinct_labels=len(tally.labels),
        labels_per_video=_spread(tally.label_counts),
        frames_per_video=_spread(tally.frame_counts),
    )


def guess_schema(paths: Sequence[str | Path], *, filesystem: FileSystem | None = None) -> Schema:
    """The schema that the shards suggest: structure from a sample, number of classes from the labels of all records.

    A preset is recognised; otherwise there are as many classes as the largest label needs. Raises DataError saying
    what is lacking, or which record does not fit what the sample suggests.
    """
    structure = guess_structure(str(paths[0]), sample_records(paths, filesystem))
    tally = _tally(paths, structure, filesystem)
    for bad in tally.bad[:1]:
        raise DataError(bad.path, bad.problem, bad.record, bad.offset)
    return with_classes(structure, max(tally.labels, default=0))


def sample_records(paths: Sequence[str | Path], filesystem: FileSystem | None) -> list[Example]:
    """The first records that can be decoded; what cannot is passed over."""

    def decoded() -> Iterator[Example]:
        for path in paths:
            for record in read_records(path, filesystem=filesystem, on_bad=lambda bad: None):
                with suppress(DataError):
                    yield decode_record(record.data, path=str(path))

    return list(islice(decoded(), _SAMPLE))


def _tally(paths: Sequence[str | Path], schema: Schema | None, filesystem: FileSystem | None) -> _Tally:
    tally = _Tally()
    for path in paths:
        whole, first_bad = tally.whole, len(tally.bad)
        tally.size_bytes += (filesystem or LocalFileSystem()).get_file_info(str(path)).size or 0
        if schema is None:
            for chunk in read_chunks(path, filesystem=filesystem, on_bad=tally.bad.append):
                tally.whole += len(chunk)
        else:
            for block in read_videos(str(path), schema, filesystem=filesystem, on_bad=tally.bad.append):
                tally.add(block)
        for bad in tally.bad[first_bad : first_bad + 1]:
            if bad.damaged and tally.whole == whole:
                raise DataError(bad.path, bad.problem, bad.record, bad.offset)
    return tally


def _summaries(examples: Sequence[Example]) -> Iterator[FeatureSummary]:
    for name in sorted({name for example in examples for name in example.features}):
        values = [example.features[name] for example in examples if name in example.features]
        yield _summary(name, False, values, len(values))
    for name in sorted({name for example in examples for name in example.feature_lists}):
        lists = [example.feature_lists[name] for example in examples if name in example.feature_lists]
        yield _summary(name, True, [*chain.from_iterable(lists)], len(lists))


def _summary(name: str, is_list: bool, values: list[Values], records: int) -> FeatureSummary:
    types = {_type(value) for value in values}
    return FeatureSummary(
        name=name,
        is_list=is_list,
        type=types.pop() if len(types) == 1 else "mixed" if types else "none",
        width=_spread([np.array([_width(value) for value in values], np.int64)]),
        records=records,
    )


def _type(values: Values) -> Literal["bytes", "float", "int", "none"]:
    if values is None:
        return "none"
    if isinstance(values, list):
        return "bytes"
    return "int" if is_ints(values) else "float"


def _width(values: Values) -> int:
    if values is None:
        return 0
    return len(values[0]) if isinstance(values, list) and len(values) == 1 else len(values)


def _spread(counts: Sequence[NDArray[np.int64]]) -> Spread | None:
    together = np.concatenate([np.empty(0, np.int64), *counts])
    if not len(together):
        return None
    return Spread(minimum=int(together.min()), mean=float(together.mean()), maximum=int(together.max()))
