"""What every pooling promises, and what each one computes."""

import torch
from torch.testing import assert_close

from dmlray.model.pooling import AttentionPool, LastPool, MaxPool, MeanPool
from tests.model.cases import random_frames, seeded
from tests.model.poolings import PoolingContract


class PickingContract(PoolingContract):
    """Poolings that pick or average frames."""

    def test_one_frame_is_its_own_pool(self):
        frames, mask = random_frames([1, 1], dim=8, seed=0)
        assert_close(seeded(self.make, 8)(frames, mask), frames[:, 0])


class TestMean(PickingContract):
    def make(self, dim):
        return MeanPool(dim)

    def test_is_the_mean_of_real_frames(self):
        frames, mask = random_frames([3, 5], dim=8, seed=0)
        assert_close(self.make(8)(frames, mask)[0], frames[0, :3].mean(dim=0))


class TestMax(PickingContract):
    def make(self, dim):
        return MaxPool(dim)

    def test_is_the_largest_of_real_frames(self):
        frames, mask = random_frames([3, 5], dim=8, seed=0)
        assert_close(self.make(8)(frames - 9, mask)[0], (frames[0, :3] - 9).amax(dim=0))


class TestLast(PickingContract):
    def make(self, dim):
        return LastPool(dim, forward_dim=dim)

    def test_takes_the_backward_direction_where_it_ends(self):
        frames, mask = random_frames([3, 5], dim=8, seed=0)
        pooled = LastPool(8, forward_dim=6)(frames, mask)
        assert_close(pooled[0], torch.cat([frames[0, 2, :6], frames[0, 0, 6:]]))


class TestAttention(PickingContract):
    def make(self, dim):
        return AttentionPool(dim)

    def test_equals_its_equations(self):
        frames, mask = random_frames([3], dim=8, seed=0)
        pool = seeded(self.make, 8)
        scores = [pool.context.weight[0] @ torch.tanh(pool.project.weight @ x + pool.project.bias) for x in frames[0]]
        weights = torch.exp(torch.stack(scores)) / torch.exp(torch.stack(scores)).sum()
        assert_close(pool(frames, mask)[0], weights @ frames[0])
