"""Small datasets for tests, written through the package's own shards and manifests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dmlray.data.claim import finish
from dmlray.data.dataset import Dataset
from dmlray.data.manifest import ShardRecord, SourceRecords
from dmlray.data.reader import VideoBlock
from dmlray.data.schema import Modality, Schema
from dmlray.data.shards import ShardWriter, file_crc

FRAME = Schema(
    level="frame",
    modalities=(
        Modality(name="visual", feature="rgb", width=6, dtype="uint8"),
        Modality(name="audio", feature="audio", width=3, dtype="uint8"),
    ),
    classes=20,
    max_frames=12,
)
VIDEO = Schema(
    level="video",
    modalities=(
        Modality(name="visual", feature="mean_rgb", width=6, dtype="float32"),
        Modality(name="audio", feature="mean_audio", width=3, dtype="float32"),
    ),
    classes=20,
)


def random_block(schema: Schema, videos: int, seed: int = 0) -> VideoBlock:
    """Videos named ``<seed>-<number>`` with 0 to 3 labels and, frame-level, 1 to 15 frames."""
    random = np.random.default_rng(seed)
    labels = [random.choice(schema.classes, random.integers(0, 4), replace=False) for _ in range(videos)]
    lengths = random.integers(1, 16, videos) if schema.level == "frame" else np.ones(videos, np.int64)
    frame_offsets = np.concatenate([[0], np.cumsum(lengths)])
    features = {}
    for modality in schema.modalities:
        values = random.integers(1, 256, (frame_offsets[-1], modality.width))  # no 0: padding is told from frames
        features[modality.name] = values.astype(modality.dtype)
    return VideoBlock(
        ids=[f"{seed}-{number}" for number in range(videos)],
        label_offsets=np.concatenate([[0], np.cumsum([len(row) for row in labels])]).astype(np.int64),
        label_values=np.concatenate([np.empty(0, np.int64), *labels]).astype(np.int64),
        features=features,
        frame_offsets=frame_offsets if schema.level == "frame" else None,
    )


def write_dataset(out: Path, schema: Schema, shards: Sequence[Sequence[VideoBlock]], split: str = "train") -> Dataset:
    """A dataset in ``out``/``split`` of shards of blocks."""
    folder = out / split
    folder.mkdir(parents=True)
    records = []
    for number, blocks in enumerate(shards):
        path = folder / f"shard-{number:05d}.arrow"
        with ShardWriter(path, schema) as writer:
            for block in blocks:
                writer.write(block)
        records.append(
            ShardRecord(
                file=path.name,
                videos=sum(writer.blocks),
                frames=writer.frames,
                blocks=tuple(writer.blocks),
                bytes=path.stat().st_size,
                crc32c=file_crc(path),
                sources=(SourceRecords(name="a.tfrecord", size=1, records=sum(writer.blocks), quarantined=0),),
                quarantine=None,
            )
        )
    finish(out, split, schema, records)
    return Dataset.open(folder)


def write_tfrecords(path: Path, schema: Schema, block: VideoBlock) -> None:
    """The videos as a shard in YouTube-8M's formats, written by the ``tfrecord`` package."""
    from tfrecord.writer import TFRecordWriter

    path.parent.mkdir(parents=True, exist_ok=True)
    writer = TFRecordWriter(str(path))
    for row, video_id in enumerate(block.ids):
        labels = block.label_values[block.label_offsets[row] : block.label_offsets[row + 1]].tolist()
        context = {schema.id_feature: (video_id.encode(), "byte"), schema.labels_feature: (labels, "int")}
        if block.frame_offsets is None:
            vectors = {m.feature: (block.features[m.name][row].tolist(), "float") for m in schema.modalities}
            writer.write({**context, **vectors})
        else:
            frames = slice(*block.frame_offsets[row : row + 2])
            lists = {
                m.feature: ([f.tobytes() for f in block.features[m.name][frames]], "byte") for m in schema.modalities
            }
            writer.write(context, lists)
    writer.close()
