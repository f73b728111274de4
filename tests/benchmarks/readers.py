"""dmlray's reader, readers that need no TensorFlow, and the limits: `python -m tests.benchmarks.readers NAME ...`.

Each delivers padded batches of 128 videos: frame-level (128, 300, D) uint8 per modality in reused memory, video-level
(128, D) float32; the limits deliver bytes.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from crc32c import crc32c
from numpy.typing import NDArray

from dmlray.data.padded import read_padded
from dmlray.data.reader import VideoBlock, read_videos
from dmlray.data.schema import PRESETS
from tests.benchmarks.shards import MEANS, WIDTHS
from tests.benchmarks.stopwatch import measure, pin

BATCH, FRAMES = 128, 300
BLOCK = 4096  # video-level: read at once, batches are views of it
STEP = 16 << 20


class Padded:
    """One batch in memory that is used again; only what the batch before left behind a video's end is zeroed."""

    def __init__(self) -> None:
        self.features = {name: np.zeros((BATCH, FRAMES, width), np.uint8) for name, width in WIDTHS.items()}
        self.dirty = {name: [0] * BATCH for name in WIDTHS}

    def put(self, row: int, name: str, frames: NDArray[np.uint8]) -> None:
        count = min(len(frames), FRAMES)
        self.features[name][row, :count] = frames[:count]
        self.features[name][row, count : self.dirty[name][row]] = 0
        self.dirty[name][row] = count


def dmlray_frame(paths: Sequence[str]) -> int:
    return sum(len(batch.ids) for batch in read_padded(paths, PRESETS["yt8m-frame"], BATCH))


def dmlray_video(paths: Sequence[str]) -> int:
    videos = 0
    for block in blocks(paths, "yt8m-video", BLOCK):
        for first in range(0, len(block), BATCH):
            videos += len({name: rows[first : first + BATCH] for name, rows in block.features.items()}["visual"])
    return videos


def blocks(paths: Sequence[str], preset: str, videos: int) -> Iterator[VideoBlock]:
    for path in paths:
        yield from read_videos(path, PRESETS[preset], block_videos=videos)


def tfrecord_frame(paths: Sequence[str]) -> int:
    from tfrecord.reader import sequence_loader

    batch, videos = Padded(), 0
    for path in paths:
        context, lists = {"id": "byte", "labels": "int"}, dict.fromkeys(WIDTHS, "byte")
        for _, features in sequence_loader(path, None, context, lists):
            for name in WIDTHS:
                frames = np.frombuffer(b"".join(features[name]), np.uint8)
                batch.put(videos % BATCH, name, frames.reshape(-1, WIDTHS[name]))
            videos += 1
    return videos


def tfrecord_video(paths: Sequence[str]) -> int:
    from tfrecord.reader import example_loader

    batch, videos = {name: np.empty((BATCH, width), np.float32) for name, width in MEANS.items()}, 0
    for path in paths:
        for features in example_loader(path, None, {"id": "byte", "labels": "int", **dict.fromkeys(MEANS, "float")}):
            for name, rows in batch.items():
                rows[videos % BATCH] = features[name]
            videos += 1
    return videos


def parquet_frame(paths: Sequence[str]) -> int:
    batch, videos = Padded(), 0
    for path in paths:
        for table in pq.ParquetFile(beside(path)).iter_batches(BATCH, use_threads=False):
            for name, width in WIDTHS.items():
                column = table.column(name)
                data, offsets = np.frombuffer(column.buffers()[2], np.uint8), np.frombuffer(column.buffers()[1], "<i4")
                for row in range(len(table)):
                    frames = data[offsets[row] : offsets[row + 1]].reshape(-1, width)
                    batch.put((videos + row) % BATCH, name, frames)
            videos += len(table)
    return videos


def parquet_video(paths: Sequence[str]) -> int:
    videos = 0
    for path in paths:
        for table in pq.ParquetFile(beside(path)).iter_batches(BATCH, use_threads=False):
            for name, width in MEANS.items():
                np.frombuffer(table.column(name).buffers()[1], "<f4", len(table) * width).copy()
            videos += len(table)
    return videos


def write_parquet(path: str, level: str) -> None:
    """The same videos as the TFRecord, uncompressed: one binary per video and modality."""
    writer = None
    for block in blocks([path], f"yt8m-{level}", BATCH):
        labels = pa.ListArray.from_arrays(block.label_offsets.astype(np.int32), block.label_values)
        columns = {"id": pa.array(block.ids), "labels": labels}
        for (name, width), feature in zip(
            (WIDTHS if level == "frame" else MEANS).items(), ("visual", "audio"), strict=True
        ):
            data = pa.py_buffer(np.ascontiguousarray(block.features[feature]))
            if block.frame_offsets is None:
                columns[name] = pa.FixedSizeBinaryArray.from_buffers(pa.binary(4 * width), len(block), [None, data])
            else:
                offsets = pa.py_buffer((block.frame_offsets * width).astype(np.int32))
                columns[name] = pa.BinaryArray.from_buffers(pa.binary(), len(block), [None, offsets, data])
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(beside(path), table.schema, compression="none", use_dictionary=False)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def beside(path: str) -> str:
    return str(Path(path).with_suffix(".parquet"))


def page_cache(paths: Sequence[str]) -> int:
    target = memoryview(bytearray(STEP))
    for path in paths:
        with Path(path).open("rb", buffering=0) as file:
            while file.readinto(target):
                pass
    return 0


def memcpy(paths: Sequence[str]) -> int:
    source, target = np.ones(STEP, np.uint8), np.ones(STEP, np.uint8)
    for path in paths:
        size = Path(path).stat().st_size
        for start in range(0, size, STEP):
            target[: size - start] = source[: size - start]
    return 0


def crc(paths: Sequence[str]) -> int:
    source = np.ones(STEP, np.uint8).data
    for path in paths:
        size = Path(path).stat().st_size
        for start in range(0, size, STEP):
            crc32c(source[: size - start])
    return 0


CONTENDERS: dict[str, Callable[[Sequence[str]], int]] = {
    "dmlray-frame": dmlray_frame,
    "dmlray-video": dmlray_video,
    "tfrecord-frame": tfrecord_frame,
    "tfrecord-video": tfrecord_video,
    "parquet-frame": parquet_frame,
    "parquet-video": parquet_video,
    "page-cache": page_cache,
    "memcpy": memcpy,
    "crc": crc,
}

if __name__ == "__main__":
    pin()
    name, records, *files = sys.argv[1:]
    limit = name in ("page-cache", "memcpy", "crc")
    if limit:
        CONTENDERS[name](files)  # the pages of the buffers are touched before the clock runs
    measure(name, CONTENDERS[name], files, 0 if limit else int(records))
