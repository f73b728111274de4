"""Statistics of frames, with and without the largest values."""

import torch
from torch.testing import assert_close

from dmlray.model.statistics import StatisticsPool
from tests.model.cases import random_frames
from tests.model.poolings import PoolingContract


class TestMeanAndDeviation(PoolingContract):
    def make(self, dim):
        return StatisticsPool(dim, top=0)

    def test_equals_its_equations(self):
        frames, mask = random_frames([3, 5], dim=8, seed=0)
        real = frames[0, :3]
        expected = torch.cat([real.mean(dim=0), real.std(dim=0, correction=0)])
        assert_close(self.make(8)(frames, mask)[0], expected)

    def test_gradients_of_a_single_frame_are_finite(self):
        frames, mask = random_frames([1], dim=8, seed=0)
        self.make(8)(frames.requires_grad_(), mask).sum().backward()
        assert frames.grad.isfinite().all()


class TestWithTheLargest(PoolingContract):
    def make(self, dim):
        return StatisticsPool(dim, top=3)

    def test_the_largest_fall_and_short_videos_repeat_their_smallest(self):
        frames, mask = random_frames([2, 5], dim=8, seed=0)
        largest = self.make(8)(frames, mask)[:, 16:].unflatten(1, (3, 8))
        low, high = frames[0, :2].aminmax(dim=0)
        assert_close(largest[0], torch.stack([high, low, low]))
        assert_close(largest[1], frames[1].sort(dim=0, descending=True).values[:3])
