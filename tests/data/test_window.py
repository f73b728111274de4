"""Mixing what passes by: each video once, in memory that does not grow, its frames intact."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dmlray.config import FramesConfig
from dmlray.data.batch import Batch, Collator
from dmlray.data.reader import VideoBlock
from dmlray.data.schema import Schema
from dmlray.data.shards import record_batch
from dmlray.data.window import mixed
from tests.data.videos import FRAME, VIDEO, random_block


def batches_of(blocks: list[VideoBlock], schema: Schema, size: int, step: int, seed: int) -> Iterator[Batch]:
    collator = Collator(schema, FramesConfig(), None, seed, pinned=False)
    passing = (record_batch(block, schema) for block in blocks)
    for part in mixed(passing, schema, size, step, np.random.default_rng(seed)):
        for start in range(0, part.ready, step):
            indices = part.first + np.arange(start, min(start + step, part.ready))
            yield from collator.batches(part.window, [indices], epoch=0)


@pytest.mark.parametrize("schema", [FRAME, VIDEO], ids=["frame", "video"])
@given(
    sizes=st.lists(st.integers(0, 9), max_size=6),
    step=st.integers(1, 4),
    more=st.integers(0, 9),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=25)
def test_each_video_comes_once_and_whole(schema: Schema, sizes: list[int], step: int, more: int, seed: int) -> None:
    blocks = [random_block(schema, size, number) for number, size in enumerate(sizes)]
    found = list(batches_of(blocks, schema, 2 * step + more, step, seed))
    assert [len(batch) for batch in found[:-1]] == [step] * (len(found) - 1), "only the last batch may be smaller"
    assert [i for batch in found for i in batch.indices] == list(range(sum(sizes)))
    wanted = {video_id: content(block, row, schema) for block in blocks for row, video_id in enumerate(block.ids)}
    for batch in found:
        for row, video_id in enumerate(batch.ids):
            labels, features = wanted.pop(video_id)
            assert batch.labels[row][batch.labels[row] >= 0].tolist() == labels
            for name, frames in features.items():
                assert torch.equal(batch.features[name][row][batch.mask[row]], torch.from_numpy(frames))
    assert not wanted


def content(block: VideoBlock, row: int, schema: Schema) -> tuple[list[int], dict[str, np.ndarray]]:
    labels = block.label_values[block.label_offsets[row] : block.label_offsets[row + 1]].tolist()
    first, end = (row, row + 1) if block.frame_offsets is None else block.frame_offsets[row : row + 2]
    end = min(end, first + schema.max_frames)
    return labels, {name: frames[first:end] for name, frames in block.features.items()}


def test_a_video_can_fall_far_behind() -> None:
    blocks = [random_block(VIDEO, 10, number) for number in range(20)]
    found = [video_id for batch in batches_of(blocks, VIDEO, 20, 5, seed=1) for video_id in batch.ids]
    wanted = [video_id for block in blocks for video_id in block.ids]
    behind = [found.index(video_id) - place for place, video_id in enumerate(wanted)]
    assert max(behind) > 20
    assert found != list(batches_of(blocks, VIDEO, 20, 5, seed=2))


def test_it_holds_copies_and_no_more_than_a_window() -> None:
    drawn = 0

    def passing() -> Iterator[pa.RecordBatch]:
        nonlocal drawn
        for number in range(20):
            drawn += 10
            yield record_batch(random_block(VIDEO, 10, number), VIDEO)

    used = 0
    for part in mixed(passing(), VIDEO, 20, 5, np.random.default_rng(0)):
        assert drawn - used <= 30, "a window, and the batch that it ends in"
        used += part.ready
    assert used == 200
