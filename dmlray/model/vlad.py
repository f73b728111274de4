"""Vectors of locally aggregated descriptors: what frames have beyond the centre of their cluster, summed."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmlray.model.clusters import ClusterShares, Compress, blank_padding
from dmlray.model.pooling import Pooling


def _centers(clusters: int, dim: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(clusters, dim) / math.sqrt(dim))


class NetVladPool(Pooling):
    """NetVLAD: Arandjelovic et al. (2016, arXiv:1511.07247), eq. 4, as in Miech et al. (2017, arXiv:1706.06905).

    The residuals sum_t a_k(x_t) (x_t - c_k) of each cluster are scaled to length 1, laid side by side and compressed.
    The published scaling of the whole vector is left out: `Compress` undoes any.

    frames (B, T, D) and mask (B, T) give (B, output).
    """

    def __init__(self, dim: int, clusters: int, output: int) -> None:
        super().__init__()
        self.dim = output
        self.shares = ClusterShares(dim, clusters)
        self.centers = _centers(clusters, dim)
        self.compress = Compress(clusters * dim, output)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        frames = blank_padding(frames, mask)
        shares = self.shares(frames, mask)  # (B, T, K)
        total = shares.sum(dim=1)[..., None]  # (B, K, 1)
        residuals = torch.einsum("btk,btd->bkd", shares, frames) - total * self.centers
        compressed: Tensor = self.compress(F.normalize(residuals, dim=-1).flatten(1))
        return compressed


class NetFisherPool(Pooling):
    """NetFV, the Fisher vector with learned clusters: Miech et al. (2017, arXiv:1706.06905).

    Beside the residuals of `NetVladPool`, over the spread s_k of each cluster, stand those of their squares:
    sum_t a_k(x_t) ((x_t - c_k)^2 / s_k^2 - 1).

    frames (B, T, D) and mask (B, T) give (B, output).
    """

    def __init__(self, dim: int, clusters: int, output: int) -> None:
        super().__init__()
        self.dim = output
        self.shares = ClusterShares(dim, clusters)
        self.centers = _centers(clusters, dim)
        self.root_spreads = nn.Parameter(1.0 + torch.randn(clusters, dim) / math.sqrt(dim))
        self.compress = Compress(2 * clusters * dim, output)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        frames = blank_padding(frames, mask)
        shares = self.shares(frames, mask)  # (B, T, K)
        total = shares.sum(dim=1)[..., None]  # (B, K, 1)
        sums = torch.einsum("btk,btd->bkd", shares, frames)
        squares = torch.einsum("btk,btd->bkd", shares, frames.square())
        spreads = self.root_spreads.square() + 1e-6  # as the published code keeps them above 0
        first = (sums - total * self.centers) / spreads
        around = squares - 2 * self.centers * sums + total * self.centers.square()  # (x - c)^2, summed
        second = around / spreads.square() - total
        both = torch.cat([F.normalize(first, dim=-1), F.normalize(second, dim=-1)], dim=-1)  # (B, K, 2 D)
        compressed: Tensor = self.compress(both.flatten(1))
        return compressed


class NextVladPool(Pooling):
    """NeXtVLAD: Lin et al. (2018, arXiv:1811.05014), its NeXtVLAD layer.

    Frames are widened by ``expansion`` and cut into ``groups``, each shared out among the same K clusters and weighed
    by an attention of its own, so that residuals are expansion * D / groups wide instead of D. ``groups`` divides
    expansion * D.

    frames (B, T, D) and mask (B, T) give (B, output).
    """

    def __init__(self, dim: int, clusters: int, groups: int, expansion: int, output: int) -> None:
        super().__init__()
        wide = expansion * dim
        assert wide % groups == 0
        self.dim = output
        self.groups, self.clusters = groups, clusters
        self.expand = nn.Linear(dim, wide)
        self.attention = nn.Linear(wide, groups)
        self.scores = nn.Linear(wide, groups * clusters, bias=False)
        self.norm = nn.LayerNorm(clusters)
        self.centers = _centers(clusters, wide // groups)
        self.compress = Compress(clusters * wide // groups, output)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        wide = self.expand(blank_padding(frames, mask))  # (B, T, expansion D)
        scores = self.norm(self.scores(wide).unflatten(-1, (self.groups, self.clusters)))  # (B, T, G, K)
        shares = scores.softmax(dim=-1) * self.attention(wide).sigmoid()[..., None]
        shares = blank_padding(shares, mask)
        parts = wide.unflatten(-1, (self.groups, -1))  # (B, T, G, expansion D / G)
        total = shares.sum(dim=(1, 2))[..., None]  # (B, K, 1)
        residuals = torch.einsum("btgk,btgd->bkd", shares, parts) - total * self.centers
        compressed: Tensor = self.compress(F.normalize(residuals, dim=-1).flatten(1))
        return compressed
