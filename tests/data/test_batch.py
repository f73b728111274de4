"""Laws of batches: every video once, the same for any number of workers, resumable anywhere, padding exact."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dmlray.config import FramesConfig
from dmlray.data.batch import Batch, Batches
from dmlray.data.buffers import Buffers
from dmlray.data.dataset import Dataset
from dmlray.errors import ConfigError
from tests.data.videos import FRAME, VIDEO, random_block, write_dataset

ALL = FramesConfig()
RANDOM = FramesConfig(select="random", count=4)


@pytest.fixture(scope="module")
def frame_level(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    blocks = [random_block(FRAME, size, seed) for seed, size in enumerate((5, 3, 7, 8))]
    return write_dataset(tmp_path_factory.mktemp("frame"), FRAME, [blocks[:2], blocks[2:]])


def batches_of(
    dataset: Dataset, size: int = 4, frames: FramesConfig = ALL, seed: int = 0, **options: object
) -> Batches:
    settings = {"modalities": None, "shuffle": True, **options}
    return Batches(dataset, size, frames=frames, seed=seed, **settings)


def videos(batches: list[Batch]) -> dict[int, bytes]:
    """What a model sees of each video."""
    seen = {}
    for batch in batches:
        for row, index in enumerate(batch.indices.tolist()):
            assert index not in seen
            frames = [tensor[row][batch.mask[row]] for tensor in batch.features.values()]
            seen[index] = b"".join(tensor.contiguous().numpy().tobytes() for tensor in frames)
    return seen


@settings(deadline=None)
@given(size=st.integers(1, 30), start=st.integers(0, 23), worlds=st.tuples(st.integers(1, 5), st.integers(1, 5)))
@pytest.mark.thorough
def test_every_video_once_whatever_the_workers_and_the_interruption(
    frame_level: Dataset, size: int, start: int, worlds: tuple[int, int]
) -> None:
    whole = videos(list(batches_of(frame_level, size, RANDOM).epoch(3)))
    order = [index for batch in batches_of(frame_level, size, RANDOM).epoch(3) for index in batch.indices.tolist()]
    assert sorted(order) == list(range(len(frame_level)))
    for world_size in worlds:
        batches = batches_of(frame_level, size, RANDOM)
        ranks = [list(batches.epoch(3, start, rank, world_size)) for rank in range(world_size)]
        assert len({len(rank) for rank in ranks}) == 1
        rest = videos([batch for rank in ranks for batch in rank])
        assert rest == {index: whole[index] for index in order[start:]}
        steps = [sorted(i for batch in step for i in batch.indices.tolist()) for step in zip(*ranks, strict=True)]
        assert steps == [sorted(order[first : first + size]) for first in range(start, len(order), size)]


def test_the_order_belongs_to_seed_and_epoch(frame_level: Dataset) -> None:
    def order(seed: int, epoch: int, shuffle: bool = True) -> list[int]:
        batches = batches_of(frame_level, seed=seed, shuffle=shuffle)
        return [index for batch in batches.epoch(epoch) for index in batch.indices.tolist()]

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(*pair)) for pair in ((0, 0), (0, 1), (1, 0), (1, 1))}) == 4
    assert order(0, 0, shuffle=False) == list(range(len(frame_level)))


def test_pads_with_zero_and_masks(frame_level: Dataset) -> None:
    for batch in batches_of(frame_level).epoch(0):
        longest = int(batch.mask.sum(dim=1).max())
        assert batch.mask.shape == (len(batch), longest)
        assert batch.mask[:, 0].all()
        assert (batch.mask[:, 1:] <= batch.mask[:, :-1]).all()
        for name, width in (("visual", 6), ("audio", 3)):
            frames = batch.features[name]
            assert frames.shape == (len(batch), longest, width)
            assert frames.dtype == torch.uint8
            assert frames.is_contiguous()
            assert ((frames != 0) == batch.mask[..., None]).all()  # the test's frames hold no 0


def test_gives_frames_labels_and_ids_as_the_dataset_has_them(frame_level: Dataset) -> None:
    for batch in batches_of(frame_level).epoch(0):
        assert batch.labels.shape[1] == max(int((row >= 0).sum()) for row in batch.labels)
        for row, (block, at) in enumerate(frame_level.locate(batch.indices)):
            index = int(batch.indices[row])
            assert batch.ids[row] == frame_level.ids[index]
            labels = batch.labels[row]
            assert labels[labels >= 0].tolist() == frame_level.labels(index).tolist()
            assert (labels[len(frame_level.labels(index)) :] == -1).all()
            expected = block.features["visual"][block.frames(at)][: FRAME.max_frames]
            assert np.array_equal(batch.features["visual"][row][batch.mask[row]], expected)


def test_modalities_keep_the_same_frames(frame_level: Dataset) -> None:
    """Scattered frames of one modality belong to those of the other."""
    for batch in batches_of(frame_level, frames=RANDOM).epoch(0):
        for row, (block, at) in enumerate(frame_level.locate(batch.indices)):
            frames = {name: block.features[name][block.frames(at)] for name in batch.features}
            for step in range(int(batch.mask[row].sum())):
                matching = [
                    (frames[name] == batch.features[name][row, step].numpy()).all(axis=1) for name in batch.features
                ]
                assert (matching[0] & matching[1]).any()


def test_video_level_is_one_frame_of_floats(tmp_path: Path) -> None:
    source = random_block(VIDEO, 6)
    dataset = write_dataset(tmp_path, VIDEO, [[source]])
    (batch,) = batches_of(dataset, 8, shuffle=False).epoch(0)
    assert batch.features["visual"].shape == (6, 1, 6)
    assert batch.features["visual"].dtype == torch.float32
    assert np.array_equal(batch.features["audio"][:, 0], source.features["audio"])
    assert batch.mask.all()


def test_picks_modalities(frame_level: Dataset) -> None:
    batch = next(batches_of(frame_level, modalities=("audio",)).epoch(0))
    assert list(batch.features) == ["audio"]
    with pytest.raises(ConfigError, match="modalities must be some of the data's: visual, audio, got"):
        batches_of(frame_level, modalities=("audio", "smell"))


def test_counts_batches_and_refuses_what_cannot_be(frame_level: Dataset) -> None:
    assert [len(batches_of(frame_level, size)) for size in (1, 22, 23, 24)] == [23, 2, 1, 1]
    for arguments in ((0, 24), (0, -1), (0, 0, 2, 2)):
        with pytest.raises(ValueError, match="no rank"):
            next(batches_of(frame_level).epoch(*arguments))


def test_moves_to_a_device(frame_level: Dataset) -> None:
    batch = next(batches_of(frame_level).epoch(0))
    moved = batch.to("meta")
    assert moved.mask.device.type == moved.labels.device.type == moved.features["visual"].device.type == "meta"
    assert moved.ids == batch.ids


def test_batches_that_are_kept_stay_as_they_were(frame_level: Dataset) -> None:
    batches = batches_of(frame_level)
    kept = list(batches.epoch(0))
    copies = [batch.features["visual"].clone() for batch in kept]
    for _ in batches.epoch(1):
        pass
    assert all(torch.equal(batch.features["visual"], copy) for batch, copy in zip(kept, copies, strict=True))


def test_memory_is_used_again_once_nobody_holds_it() -> None:
    buffers = Buffers()
    addresses = set()
    for _ in range(10):
        tensor = buffers.take((3, 4), torch.float32)
        addresses.add(tensor.data_ptr())
    assert len(addresses) == 2  # the old tensor lives until the name takes the new one
    part = tensor[1:]
    del tensor
    assert buffers.take((3, 4), torch.uint8).data_ptr() != part.data_ptr() - 16
