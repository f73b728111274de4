"""What must hold for any bytes at all: shared by the seeds, the mutation tests and the fuzzer."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dmlray.data.columns import Columns, VideoBlock
from dmlray.data.example import MalformedError
from dmlray.data.schema import Modality, Schema
from dmlray.data.tfrecord import SLACK, Chunk, masked_crc, read_records
from dmlray.data.video import Video, decode_video
from dmlray.errors import DataError

FRAME = Schema(
    level="frame",
    modalities=(
        Modality(name="visual", feature="rgb", width=5, dtype="uint8"),
        Modality(name="audio", feature="audio", width=130, dtype="uint8"),
    ),
    classes=300,
)
VIDEO = Schema(
    level="video",
    modalities=(
        Modality(name="visual", feature="mean_rgb", width=3, dtype="float32"),
        Modality(name="audio", feature="mean_audio", width=2, dtype="float32"),
    ),
    classes=300,
)


def check(data: bytes) -> None:
    """The first byte chooses what the others are: a TFRecord file, a frame-level or a video-level record."""
    if not data:
        return
    if data[0] % 3 == 0:
        framing_is_exact(data[1:])
    else:
        paths_agree([data[1:]], FRAME if data[0] % 3 == 1 else VIDEO)


def framing_is_exact(content: bytes) -> None:
    """Reading ends or raises DataError, and a record is given only with both of its checksums in the file."""
    with tempfile.NamedTemporaryFile(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as file:
        file.write(content)
        file.flush()
        try:
            for record in read_records(file.name):
                if not content.startswith(b"\x1f\x8b\x08"):
                    length = len(record.data).to_bytes(8, "little")
                    parts = (length, _checksum(length), bytes(record.data), _checksum(record.data))
                    assert content.startswith(b"".join(parts), record.offset)
        except DataError:
            pass


def paths_agree(records: Sequence[bytes], schema: Schema) -> None:
    """The vectorised path reads a record as the general one does, or leaves it; that one refuses by MalformedError."""
    columns = Columns(_chunk(records), schema)
    block, row = columns.block(columns.ok), 0
    for lane, data in enumerate(records):
        try:
            video = decode_video(memoryview(data), schema)
        except MalformedError:
            assert not columns.ok[lane], "the general path refuses what the vectorised one reads"
            continue
        if columns.ok[lane]:
            _same(block, row, video)
            row += 1


def _same(block: VideoBlock, row: int, video: Video) -> None:
    assert block.ids[row] == video.id
    assert block.label_values[block.label_offsets[row] : block.label_offsets[row + 1]].tolist() == video.labels.tolist()
    frames = slice(row, row + 1) if block.frame_offsets is None else slice(*block.frame_offsets[row : row + 2])
    for name, values in video.features.items():
        assert block.features[name][frames].tobytes() == values.tobytes()


def _chunk(records: Sequence[bytes]) -> Chunk:
    lengths = np.array([len(data) for data in records], np.int64)
    starts = np.cumsum(lengths) - lengths
    buffer = np.frombuffer(b"".join(records) + bytes([0xFF] * SLACK), np.uint8)
    return Chunk(["fuzz"] * len(records), buffer, starts, lengths, list(range(len(records))), starts)


def _checksum(data: bytes | memoryview) -> bytes:
    return masked_crc(data).to_bytes(4, "little")
