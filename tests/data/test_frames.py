"""Laws of frame selection, for every way to select."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmlray.config import FramesConfig
from dmlray.data.frames import FrameChoice, choose_frames
from dmlray.data.shuffle import video_draws

SELECTIONS = ["first", "uniform", "random", "window", "segments"]
lengths_of_videos = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def choose(config: FramesConfig, lengths: list[int], max_frames: int = 30, seed: int = 0) -> FrameChoice:
    indices = np.arange(len(lengths))
    return choose_frames(config, np.array(lengths), max_frames, lambda columns: video_draws(indices, seed, 0, columns))


@pytest.mark.parametrize("select", SELECTIONS)
@given(lengths=lengths_of_videos, count=st.integers(1, 35), seed=st.integers(0, 99))
def test_gives_as_many_frames_as_it_can_in_order_and_none_twice(
    select: str, lengths: list[int], count: int, seed: int
) -> None:
    choice = choose(FramesConfig(select=select, count=count), lengths, seed=seed)
    assert choice.positions.shape == (len(lengths), choice.counts.max())
    for length, chosen, positions in zip(lengths, choice.counts, choice.positions, strict=True):
        assert chosen == min(count, length, 30)
        assert (positions[chosen:] == 0).all()
        assert (np.diff(positions[:chosen]) > 0).all()
        assert positions[0] >= 0
        assert positions[chosen - 1] < min(length, 30)
        if choice.is_run:
            assert (np.diff(positions[:chosen]) == 1).all()


@pytest.mark.parametrize("select", SELECTIONS)
def test_gives_all_frames_of_a_short_video(select: str) -> None:
    choice = choose(FramesConfig(select=select, count=8), [5, 8])
    assert choice.positions[0, :5].tolist() == [0, 1, 2, 3, 4]
    assert choice.positions[1].tolist() == list(range(8))


@given(lengths=lengths_of_videos)
def test_all_is_first_without_a_count(lengths: list[int]) -> None:
    choice = choose(FramesConfig(), lengths)
    assert choice.counts.tolist() == [min(length, 30) for length in lengths]
    assert choice.positions[0, : choice.counts[0]].tolist() == list(range(choice.counts[0]))


def test_uniform_takes_the_middle_of_equal_parts() -> None:
    assert choose(FramesConfig(select="uniform", count=3), [30]).positions[0].tolist() == [5, 15, 25]


@given(length=st.integers(4, 30), seed=st.integers(0, 99))
def test_segments_take_one_frame_each(length: int, seed: int) -> None:
    positions = choose(FramesConfig(select="segments", count=4), [length], seed=seed).positions[0]
    for part, position in enumerate(positions):
        assert part * length // 4 <= position < (part + 1) * length // 4


@pytest.mark.parametrize("select", ["random", "window", "segments"])
def test_random_selections_reach_every_frame(select: str) -> None:
    config = FramesConfig(select=select, count=3)
    seen = {int(p) for seed in range(80) for p in choose(config, [9], seed=seed).positions[0]}
    assert seen == set(range(9))


@given(indices=st.lists(st.integers(0, 10**7), min_size=1, max_size=8), columns=st.integers(1, 5))
def test_draws_belong_to_the_video(indices: list[int], columns: int) -> None:
    together = video_draws(np.array(indices), 1, 2, columns)
    alone = [video_draws(np.array([index]), 1, 2, columns)[0] for index in indices]
    assert np.array_equal(together, alone)
    assert ((together >= 0) & (together < 1)).all()


def test_draws_are_uniform_and_change_with_seed_and_epoch() -> None:
    indices = np.arange(2000)
    draws = video_draws(indices, 0, 0, 10)
    assert np.histogram(draws, 10, (0, 1))[0] == pytest.approx(2000, rel=0.1)
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.1
    assert not np.isclose(draws, video_draws(indices, 0, 1, 10)).any(axis=1).all()
    assert not np.isclose(draws, video_draws(indices, 1, 0, 10)).any(axis=1).all()
