"""Padded batches from TFRecords hold what the blocks hold, and zeros."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmlray.data.padded import read_padded
from dmlray.errors import DataError
from tests.data.videos import FRAME, random_block, write_tfrecords


@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4), batch_size=st.integers(1, 7))
@settings(deadline=None, max_examples=15)
def test_the_same_videos_padded(sizes: list[int], batch_size: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("shards")
    blocks = [random_block(FRAME, size, seed) for seed, size in enumerate(sizes)]
    paths = [folder / f"{number}.tfrecord" for number in range(len(sizes))]
    for path, block in zip(paths, blocks, strict=True):
        write_tfrecords(path, FRAME, block)
    wanted = [(block, row) for block in blocks for row in range(len(block))]
    for batch in read_padded([str(path) for path in paths], FRAME, batch_size):
        assert len(batch.ids) == min(batch_size, len(wanted))
        for row, video_id in enumerate(batch.ids):
            block, number = wanted.pop(0)
            assert block.frame_offsets is not None
            first, end = block.frame_offsets[number : number + 2]
            end = min(end, first + FRAME.max_frames)
            labels = block.label_values[block.label_offsets[number] : block.label_offsets[number + 1]]
            assert (video_id, batch.lengths[row]) == (block.ids[number], end - first)
            assert batch.labels[row].tolist() == labels.tolist()
            for name, rows in batch.features.items():
                assert (rows[row, : end - first] == block.features[name][first:end]).all()
                assert not np.any(rows[row, end - first :])
    assert not wanted


def test_bad_records_are_as_the_reader_says(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    write_tfrecords(path, FRAME, random_block(FRAME, 3))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="record 2"):
        list(read_padded([str(path)], FRAME, 2))
    bad: list[object] = []
    assert sum(len(batch.ids) for batch in read_padded([str(path)], FRAME, 2, on_bad=bad.append)) == 2
    assert len(bad) == 1
