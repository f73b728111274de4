"""Laws of an epoch's order: a permutation, a function of (seed, epoch), readable from any position, less padding."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmlray.config import FramesConfig
from dmlray.data import order as order_module
from dmlray.data.batch import Batches
from dmlray.data.dataset import Dataset
from dmlray.data.order import Bucketing, EpochOrder
from dmlray.data.shuffle import shuffled
from tests.data.videos import FRAME, random_block, write_dataset

pytestmark = pytest.mark.thorough

MODES = {"plain": (False, False), "shuffled": (True, False), "sorted": (False, True), "bucketed": (True, True)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    blocks = [random_block(FRAME, size, seed) for seed, size in enumerate((5, 3, 17, 8))]
    return write_dataset(tmp_path_factory.mktemp("order"), FRAME, [blocks[:2], blocks[2:]])


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order_module, "WINDOW_BATCHES", 3)
    monkeypatch.setattr(order_module, "_WINDOW_VIDEOS", 10)


def batches_of(dataset: Dataset, size: int, mode: str, seed: int = 0) -> Batches:
    shuffle, bucketing = MODES[mode]
    frames = FramesConfig(select="random", count=9)
    return Batches(dataset, size, frames=frames, modalities=None, seed=seed, shuffle=shuffle, bucketing=bucketing)


def padding(batches: Batches, epoch: int = 0) -> float:
    masks = [batch.mask for batch in batches.epoch(epoch)]
    return 1 - sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


@settings(deadline=None)
@given(videos=st.integers(1, 700), seed=st.integers(0, 99), epoch=st.integers(0, 9))
def test_shuffling_is_a_permutation_whatever_is_asked_together(videos: int, seed: int, epoch: int) -> None:
    order = shuffled(np.arange(videos), videos, seed, epoch)
    assert sorted(order.tolist()) == list(range(videos))
    backwards = [int(shuffled(np.array([position]), videos, seed, epoch)[0]) for position in range(min(videos, 9))][
        ::-1
    ]
    assert backwards == order[: min(videos, 9)][::-1].tolist()


@pytest.mark.parametrize("videos", [24, 64, 100])
def test_shuffling_prefers_nothing(videos: int) -> None:
    """Over many epochs every video comes everywhere as often; neighbours stay together only by chance."""
    epochs = 2000
    orders = np.array([shuffled(np.arange(videos), videos, 5, epoch) for epoch in range(epochs)])
    counts = np.zeros((videos, videos))
    for order in orders:
        counts[np.arange(videos), order] += 1
    expected = epochs / videos
    chi_square = ((counts - expected) ** 2 / expected).sum() / (videos - 1) ** 2
    assert chi_square == pytest.approx(1, abs=0.2)
    assert (np.diff(orders) == 1).sum() / epochs == pytest.approx((videos - 1) / videos, abs=0.1)
    assert len({tuple(order) for order in orders.tolist()}) == epochs


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=60),
    size=st.integers(1, 8),
    seed=st.integers(0, 5),
    shuffle=st.booleans(),
)
def test_bucketing_permutes_and_never_pads_more_than_sorting_lets_it(
    lengths: list[int], size: int, seed: int, shuffle: bool
) -> None:
    frames = np.array(lengths)
    bucketing = Bucketing(lambda indices: frames[indices], size)
    order = EpochOrder(len(frames), seed, 1, shuffle=shuffle, bucketing=bucketing)
    whole = order.part(0, len(frames))
    assert sorted(whole.tolist()) == list(range(len(frames)))
    window = 3 * size
    plain = EpochOrder(len(frames), seed, 1, shuffle=shuffle)
    for first in range(0, len(frames), window):
        videos = whole[first : first + window]
        assert sorted(videos) == sorted(plain.part(first, first + window))  # windows keep their videos
        spans = sorted(
            (frames[batch].min(), frames[batch].max()) for batch in np.split(videos, range(size, len(videos), size))
        )
        assert all(low[1] <= high[0] for low, high in pairwise(spans))  # lengths do not mix


@settings(deadline=None)
@given(size=st.integers(1, 7), parts=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=5))
def test_any_part_can_be_read_on_its_own(size: int, parts: list[tuple[int, int]]) -> None:
    frames = np.random.default_rng(1).integers(1, 50, 33)
    bucketing = Bucketing(lambda indices: frames[indices], size)
    whole = EpochOrder(33, 0, 0, shuffle=True, bucketing=bucketing).part(0, 33)
    order = EpochOrder(33, 0, 0, shuffle=True, bucketing=bucketing)
    for first, last in parts:
        if first < min(last, 33):
            assert order.part(first, last).tolist() == whole[first:last].tolist()


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None)
@given(
    size=st.integers(1, 12),
    steps=st.integers(0, 40),
    worlds=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    seed=st.integers(0, 3),
)
@pytest.mark.thorough
def test_killed_in_mid_epoch_the_rest_comes_once_with_other_workers(
    dataset: Dataset, mode: str, size: int, steps: int, worlds: tuple[int, int], seed: int
) -> None:
    """Row 37 of the fault matrix: killed after some steps, resumed by another number of workers."""
    before, after = worlds

    def start(rank: int, world: int, start: int = 0) -> list[list[str]]:
        return [batch.ids for batch in batches_of(dataset, size, mode, seed).epoch(2, start, rank, world)]

    steps = min(steps, len(batches_of(dataset, size, mode)))
    seen = [video for rank in range(before) for ids in start(rank, before)[:steps] for video in ids]
    consumed = min(steps * size, len(dataset))
    assert len(seen) == consumed
    rest = [video for rank in range(after) for ids in start(rank, after, consumed) for video in ids]
    assert sorted(seen + rest) == sorted(dataset.ids)


@pytest.mark.parametrize("mode", MODES)
def test_a_resumed_epoch_gives_the_very_same_batches(dataset: Dataset, mode: str) -> None:
    whole = list(batches_of(dataset, 4, mode).epoch(1))
    for step in range(len(whole)):
        resumed = list(batches_of(dataset, 4, mode).epoch(1, start=4 * step))
        assert [batch.ids for batch in resumed] == [batch.ids for batch in whole[step:]]
        for one, other in zip(resumed, whole[step:], strict=True):
            assert all(one.features[name].equal(other.features[name]) for name in one.features)


def test_buckets_hold_less_padding(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path, FRAME, [[random_block(FRAME, 96)]])
    assert padding(batches_of(dataset, 8, "bucketed")) < 0.7 * padding(batches_of(dataset, 8, "shuffled"))


def test_batches_do_not_go_from_short_to_long(dataset: Dataset) -> None:
    longest = [
        [batch.mask.shape[1] for batch in batches_of(dataset, 4, "bucketed").epoch(epoch)][:3] for epoch in range(8)
    ]
    assert any(window != sorted(window) for window in longest)
