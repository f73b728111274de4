"""The contract of every encoder."""

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from tests.model.cases import random_frames, seeded, unreached

LENGTHS = st.lists(st.integers(1, 5), min_size=1, max_size=4)
SEEDS = st.integers(0, 99)


class EncoderContract:
    def make(self, dim):
        raise NotImplementedError

    @settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.differing_executors])
    @given(lengths=LENGTHS, seed=SEEDS, padding=st.sampled_from([1e3, -1e30, torch.inf]))
    def test_ignores_padding(self, lengths, seed, padding):
        frames, mask = random_frames(lengths, dim=4, seed=seed)
        encoder = seeded(self.make, 4).eval()
        output = encoder(frames, mask)
        noisy = torch.where(mask[..., None], frames, padding)
        assert output.shape == (*mask.shape, encoder.dim)
        assert_close(encoder(noisy, mask)[mask], output[mask], rtol=0, atol=0)
        for i, length in enumerate(lengths):  # as if the video stood alone, without padding
            alone = encoder(frames[i : i + 1, :length], mask[i : i + 1, :length])
            assert_close(output[i : i + 1, :length], alone)

    def test_gradients_reach_every_parameter(self):
        encoder = seeded(self.make, 4)
        frames, mask = random_frames([5, 2, 3], dim=4, seed=1)
        encoder(frames.requires_grad_(), mask)[mask].square().sum().backward()
        assert unreached(encoder) == []
        assert frames.grad[mask].all()
        assert not frames.grad[~mask].any()
