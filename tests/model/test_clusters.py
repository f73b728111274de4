"""Poolings over learned clusters, against their equations written out frame by frame."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from dmlray.model.attention_clusters import AttentionClustersPool
from dmlray.model.clusters import SoftDbofPool
from dmlray.model.vlad import NetFisherPool, NetVladPool, NextVladPool
from tests.model.cases import random_frames, seeded
from tests.model.poolings import PoolingContract

pytestmark = pytest.mark.thorough


def unit(vector):
    return vector / vector.norm()


def one_video(pool):
    """(pooled vector of a video of 3 frames beside a longer one, its frames)."""
    frames, mask = random_frames([3, 5], dim=8, seed=0)
    return pool(frames, mask)[0], frames[0, :3]


def shares_of(pool, frames):
    return [pool.norm(pool.scores(x)).softmax(dim=0) for x in frames]


class TestSoftDbof(PoolingContract):
    def make(self, dim):
        return SoftDbofPool(dim, clusters=4, output=5)

    def test_equals_its_equations(self):
        pool = seeded(self.make, 8)
        pooled, frames = one_video(pool)
        shares = torch.stack(shares_of(pool.shares, frames))
        assert_close(shares.sum(dim=1), torch.ones(3))
        assert_close(pooled, pool.compress(torch.cat([unit(shares.sum(dim=0)), unit(shares.amax(dim=0))])))


class TestNetVlad(PoolingContract):
    def make(self, dim):
        return NetVladPool(dim, clusters=4, output=5)

    def test_equals_its_equations(self):
        pool = seeded(self.make, 8)
        pooled, frames = one_video(pool)
        shares = shares_of(pool.shares, frames)
        residuals = [
            unit(sum(share[k] * (x - pool.centers[k]) for x, share in zip(frames, shares, strict=True)))
            for k in range(4)
        ]
        assert_close(pooled, pool.compress(torch.cat(residuals)))


class TestNetFisher(PoolingContract):
    def make(self, dim):
        return NetFisherPool(dim, clusters=4, output=5)

    def test_equals_its_equations(self):
        pool = seeded(self.make, 8)
        pooled, frames = one_video(pool)
        shares, parts = shares_of(pool.shares, frames), []
        for k in range(4):
            spread = pool.root_spreads[k] ** 2 + 1e-6
            scaled = [(x - pool.centers[k]) / spread for x in frames]
            parts.append(unit(sum(share[k] * z for z, share in zip(scaled, shares, strict=True))))
            parts.append(unit(sum(share[k] * (z**2 - 1) for z, share in zip(scaled, shares, strict=True))))
        assert_close(pooled, pool.compress(torch.cat(parts)), rtol=1e-4, atol=1e-4)


class TestNextVlad(PoolingContract):
    def make(self, dim):
        return NextVladPool(dim, clusters=4, groups=2, expansion=3, output=5)

    def test_equals_its_equations(self):
        pool = seeded(self.make, 8)
        pooled, frames = one_video(pool)
        residuals = torch.zeros(4, 12)
        for wide in map(pool.expand, frames):
            for group in range(2):
                attention = pool.attention(wide)[group].sigmoid()
                share = pool.norm(pool.scores(wide)[4 * group : 4 * group + 4]).softmax(dim=0)
                part = wide[12 * group : 12 * group + 12]
                residuals = residuals + attention * share[:, None] * (part - pool.centers)
        assert_close(pooled, pool.compress(F.normalize(residuals, dim=1).flatten()))


class TestAttentionClusters(PoolingContract):
    def make(self, dim):
        return AttentionClustersPool(dim, clusters=4, output=5)

    def test_equals_its_equations(self):
        pool = seeded(self.make, 8)
        pooled, frames = one_video(pool)
        weights = pool.scores(frames).softmax(dim=0)  # (T, N)
        attended = [pool.scale[n] * (weights[:, n] @ frames) + pool.shift[n] for n in range(4)]
        assert_close(pooled, pool.compress(torch.cat([unit(v) / 2 for v in attended])))
