"""The contract of every pooling."""

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from tests.model.cases import random_frames, seeded, unreached


class PoolingContract:
    def make(self, dim):
        raise NotImplementedError

    @settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.differing_executors])
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
        assert pooled.shape == (len(lengths), pool.dim)
        assert_close(pool(noisy, mask), pooled)
        for i, length in enumerate(lengths):
            assert_close(pool(frames[i : i + 1, :length], mask[i : i + 1, :length]), pooled[i : i + 1])

    def test_gradients_reach_every_parameter_and_no_padding(self):
        pool = seeded(self.make, 8)
        frames, mask = random_frames([5, 2], dim=8, seed=1)
        frames.requires_grad_()
        pool(frames, mask).square().sum().backward()
        assert unreached(pool) == []
        assert frames.grad[mask].any()
        assert not frames.grad[~mask].any()
