"""Value for value what TensorFlow parses; DMLRAY_TF_PYTHON names an interpreter that has it. All shards: `-m slow`."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from dmlray.data.reader import read_files
from dmlray.data.schema import PRESETS

INTERPRETER = os.environ.get("DMLRAY_TF_PYTHON")

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.real_data,
    pytest.mark.skipif(INTERPRETER is None, reason="DMLRAY_TF_PYTHON names no interpreter with TensorFlow"),
]


def compare(kind: str, shards: list[Path], folder: Path) -> int:
    """Assert equality of every value; the number of videos."""
    assert INTERPRETER is not None
    script, out = Path(__file__).with_name("tensorflow_parse.py"), folder / "parsed.npz"
    subprocess.run([INTERPRETER, script, kind, out, *shards], check=True, capture_output=True)
    schema, seen, frames, labels = PRESETS[kind], 0, 0, 0
    with np.load(out) as arrays:
        theirs = dict(arrays)
    for block, _ in read_files([str(path) for path in shards], schema):
        videos = slice(seen, seen + len(block))
        assert [video_id.encode() for video_id in block.ids] == theirs["ids"][videos].tolist()
        assert (np.diff(block.label_offsets) == theirs["label_counts"][videos]).all()
        assert (block.label_values == theirs["labels"][labels : labels + len(block.label_values)]).all()
        rows = len(block) if block.frame_offsets is None else int(block.frame_offsets[-1])
        for modality in schema.modalities:
            mine = block.features[modality.name]
            assert mine.tobytes() == theirs[modality.feature][frames : frames + rows].tobytes()
            if block.frame_offsets is not None:
                assert (np.diff(block.frame_offsets) == theirs[f"{modality.feature}_counts"][videos]).all()
        seen, frames, labels = seen + len(block), frames + rows, labels + len(block.label_values)
    assert seen == len(theirs["ids"])
    return seen


@pytest.mark.parametrize(
    ("kind", "pattern", "step"),
    [
        ("yt8m-video", "yt8m_video/*.tfrecord", 30),
        ("yt8m-frame", "yt8m_frame/*.tfrecord", 1),
        ("audioset", "audioset/*/*.tfrecord", 100),
    ],
)
def test_some_genuine_shards(real_data: Path, tmp_path: Path, kind: str, pattern: str, step: int) -> None:
    assert compare(kind, sorted(real_data.glob(pattern))[::step], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "pattern", "videos"),
    [("yt8m-video", "yt8m_video/*.tfrecord", 25953), ("audioset", "audioset/*/*.tfrecord", 33221)],
)
def test_all_genuine_shards(real_data: Path, tmp_path: Path, kind: str, pattern: str, videos: int) -> None:
    assert compare(kind, sorted(real_data.glob(pattern)), tmp_path) == videos
