"""YouTube-8M shaped TFRecords at full size, made of random bytes: what a reader does not look at, it cannot skip."""

from pathlib import Path

import numpy as np

from dmlray.data.tfrecord import masked_crc
from tests.data.encoder import bytes_feature, entry, field, int_feature

WIDTHS = {"rgb": 1024, "audio": 128}
MEANS = {"mean_rgb": 1024, "mean_audio": 128}


def frame_shard(path: Path, videos: int, seed: int) -> None:
    """``videos`` SequenceExamples of 120 to 301 frames x 1152 bytes."""
    random = np.random.default_rng(seed)
    pool = {name: random.integers(0, 256, (1000, width), np.uint8) for name, width in WIDTHS.items()}
    with path.open("wb") as file:
        for number in range(videos):
            length, first = int(random.integers(120, 302)), int(random.integers(0, 600))
            lists = b"".join(entry(name, _frames(rows[first : first + length])) for name, rows in pool.items())
            file.write(_framed(field(1, _context(number, random)) + field(2, lists)))


def video_shard(path: Path, videos: int, seed: int) -> None:
    """``videos`` Examples of 1152 floats."""
    random = np.random.default_rng(seed)
    with path.open("wb") as file:
        for number in range(videos):
            parts = [
                entry(name, field(2, field(1, random.random(width, np.float32).tobytes())))
                for name, width in MEANS.items()
            ]
            file.write(_framed(field(1, _context(number, random) + b"".join(parts))))


def _context(number: int, random: np.random.Generator) -> bytes:
    labels = random.choice(3862, 3, replace=False).tolist()  # of varying number, Ray Data's reader fails on them
    return entry("id", bytes_feature([b"%04d" % (number % 10000)])) + entry("labels", int_feature(labels))


def _frames(rows: np.ndarray) -> bytes:  # type: ignore[type-arg]
    header = np.frombuffer(field(1, bytes_feature([bytes(rows.shape[1])]))[: -rows.shape[1]], np.uint8)
    return np.hstack([np.broadcast_to(header, (len(rows), len(header))), rows]).tobytes()


def _framed(data: bytes) -> bytes:
    length = len(data).to_bytes(8, "little")
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    return masked_crc(data).to_bytes(4, "little")
