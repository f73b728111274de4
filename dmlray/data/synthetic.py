"""Synthetic datasets in the genuine YouTube-8M formats, written with the ``tfrecord`` package."""

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dmlray.data.quantize import dequantize
from dmlray.data.schema import Modality, Schema, schema_yaml
from dmlray.data.synthetic_world import SyntheticVideo, SynthSpec, World
from dmlray.errors import UsageError

__all__ = ["SynthSpec", "synthesize"]

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_IDS = len(_ALPHABET) ** 4
_STRIDE = 7_368_787  # a prime: no two of the first 62^4 numbers give the same id


def synthesize(out: Path, spec: SynthSpec) -> None:
    """Write ``out``/{train,validation,test}/*.tfrecord and ``out``/schema.yaml, the same bytes for the same ``spec``.

    Frame-level: SequenceExample with context ``id`` and ``labels``, feature lists ``rgb`` and ``audio``. Video-level:
    Example with ``mean_rgb`` and ``mean_audio``, the means of the very same frames, dequantised. The folder appears
    whole or not at all; UsageError if it exists and is not empty, or if there are more videos than ids.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} exists already: name a new folder for the synthetic data")
    counts = {"train": spec.train, "validation": spec.validation, "test": spec.test}
    if sum(counts.values()) > _IDS:
        raise UsageError(f"{sum(counts.values())} videos are more than the {_IDS} ids of four characters")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        _write_all(temporary, spec, counts)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def schema_of(spec: SynthSpec) -> Schema:
    """The schema that such a dataset has."""
    frame = spec.level == "frame"
    names = {"visual": "rgb", "audio": "audio"} if frame else {"visual": "mean_rgb", "audio": "mean_audio"}
    widths = {"visual": spec.visual_width, "audio": spec.audio_width}
    return Schema(
        level=spec.level,
        modalities=tuple(
            Modality(name=name, feature=feature, width=widths[name], dtype="uint8" if frame else "float32")
            for name, feature in names.items()
        ),
        classes=spec.classes,
        max_frames=spec.max_frames,
    )


def _write_all(out: Path, spec: SynthSpec, counts: dict[str, int]) -> None:
    world, number = World(spec), 0
    for split, count in counts.items():
        shards = min(spec.shards, count)
        for shard in range(shards):
            size = count // shards + (shard < count % shards)
            path = out / split / f"{split}{shard:04d}.tfrecord"
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_shard(path, _messages(world.videos(split, shard, size), spec, number))
            number += size
    (out / "schema.yaml").write_text(schema_yaml(schema_of(spec)), encoding="utf-8")


def _write_shard(path: Path, messages: Iterator[Any]) -> None:
    from tfrecord.writer import TFRecordWriter  # takes seconds: it imports torch

    writer = TFRecordWriter(str(path))
    try:
        for message in messages:
            data = message.SerializeToString(deterministic=True)  # the writer's own order of keys varies by process
            length = len(data).to_bytes(8, "little")
            for piece in (length, writer.masked_crc(length), data, writer.masked_crc(data)):
                writer.file.write(piece)
    finally:
        writer.close()


def _messages(videos: Iterator[SyntheticVideo], spec: SynthSpec, number: int) -> Iterator[Any]:
    from tfrecord import example_pb2 as pb

    for position, video in enumerate(videos, number):
        features = {
            "id": pb.Feature(bytes_list=pb.BytesList(value=[_id(position).encode()])),
            "labels": pb.Feature(int64_list=pb.Int64List(value=video.labels)),
        }
        if spec.level == "video":
            for name, frames in (("mean_rgb", video.visual), ("mean_audio", video.audio)):
                mean = dequantize(frames).mean(axis=0, dtype=np.float32)
                features[name] = pb.Feature(float_list=pb.FloatList(value=mean))
            yield pb.Example(features=pb.Features(feature=features))
        else:
            lists = {"rgb": _feature_list(pb, video.visual), "audio": _feature_list(pb, video.audio)}
            yield pb.SequenceExample(
                context=pb.Features(feature=features), feature_lists=pb.FeatureLists(feature_list=lists)
            )


def _feature_list(pb: Any, frames: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
    return pb.FeatureList(feature=[pb.Feature(bytes_list=pb.BytesList(value=[frame.tobytes()])) for frame in frames])


def _id(number: int) -> str:
    """Four characters, as YouTube-8M's anonymised ids; different for different numbers."""
    code = number * _STRIDE % _IDS
    letters = ""
    for _ in range(4):
        code, letter = divmod(code, len(_ALPHABET))
        letters += _ALPHABET[letter]
    return letters
