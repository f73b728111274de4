"""What every pooling promises, and what each one computes."""

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from dmlray.model.pooling import AttentionPool, LastPool, MaxPool, MeanPool
from tests.model.cases import random_frames, seeded, unreached


class PoolingContract:
    def make(self, dim):
        raise NotImplementedError

    @settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.differing_executors])
    @given(
        lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4),
        seed=st.integers(0, 99),
        padding=st.sampled_from([1e3, -1e30]),
    )
    def test_ignores_padding(self, lengths, seed, padding):
        frames, mask = random_frames(lengths, dim=8, seed=seed)
        noisy = torch.where(mask[..., None], frames, padding)
        pool = seeded(self.make, 8)
        pooled = pool(frames, mask)
        assert pooled.shape == (len(lengths), 8)
        assert_close(pool(noisy, mask), pooled)
        for i, length in enumerate(lengths):
            assert_close(pool(frames[i : i + 1, :length], mask[i : i + 1, :length]), pooled[i : i + 1])

    def test_one_frame_is_its_own_pool(self):
        frames, mask = random_frames([1, 1], dim=8, seed=0)
        assert_close(seeded(self.make, 8)(frames, mask), frames[:, 0])

    def test_gradients_reach_every_parameter_and_no_padding(self):
        pool = seeded(self.make, 8)
        frames, mask = random_frames([5, 2], dim=8, seed=1)
        frames.requires_grad_()
        pool(frames, mask).square().sum().backward()
        assert unreached(pool) == []
        assert frames.grad[mask].any()
        assert not frames.grad[~mask].any()


class TestMean(PoolingContract):
    def make(self, dim):
        return MeanPool()

    def test_is_the_mean_of_real_frames(self):
        frames, mask = random_frames([3, 5], dim=8, seed=0)
        assert_close(self.make(8)(frames, mask)[0], frames[0, :3].mean(dim=0))


class TestMax(PoolingContract):
    def make(self, dim):
        return MaxPool()

    def test_is_the_largest_of_real_frames(self):
        frames, mask = random_frames([3, 5], dim=8, seed=0)
        assert_close(self.make(8)(frames - 9, mask)[0], (frames[0, :3] - 9).amax(dim=0))


class TestLast(PoolingContract):
    def make(self, dim):
        return LastPool(forward_dim=dim)

    def test_takes_the_backward_direction_where_it_ends(self):
        frames, mask = random_frames([3, 5], dim=8, seed=0)
        pooled = LastPool(forward_dim=6)(frames, mask)
        assert_close(pooled[0], torch.cat([frames[0, 2, :6], frames[0, 0, 6:]]))


class TestAttention(PoolingContract):
    def make(self, dim):
        return AttentionPool(dim)

    def test_equals_its_equations(self):
        frames, mask = random_frames([3], dim=8, seed=0)
        pool = seeded(self.make, 8)
        scores = [pool.context.weight[0] @ torch.tanh(pool.project.weight @ x + pool.project.bias) for x in frames[0]]
        weights = torch.exp(torch.stack(scores)) / torch.exp(torch.stack(scores)).sum()
        assert_close(pool(frames, mask)[0], weights @ frames[0])
