"""What poolings over learned clusters share, and the plainest of them, the bag of frames' words.

The published models batch-normalise cluster scores and compressed vectors. Here both are layer-normalised (Ba et al.,
2016, arXiv:1607.06450): the same in training and in evaluation, for any batch, micro-batch or number of workers, with
no running statistics for padding to disturb or for averaged checkpoints to mismatch.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmlray.model.pooling import Pooling


def blank_padding(values: Tensor, mask: Tensor) -> Tensor:
    """values (B, T, ...) with exactly 0 where mask (B, T) is False."""
    return values.masked_fill(~mask.reshape(*mask.shape, *[1] * (values.dim() - 2)), 0.0)


class ClusterShares(nn.Module):
    """How much of each frame belongs to each cluster: softmax(norm(W x)), Arandjelovic et al. (2016), eq. 3.

    frames (B, T, D) and mask (B, T) give (B, T, K), which sums to 1 over K on real frames and is 0 on padding.
    """

    def __init__(self, dim: int, clusters: int) -> None:
        super().__init__()
        self.scores = nn.Linear(dim, clusters, bias=False)
        self.norm = nn.LayerNorm(clusters)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        return blank_padding(self.norm(self.scores(frames)).softmax(dim=-1), mask)


class Compress(nn.Module):
    """One linear layer to ``output``, normalised: (B, N) give (B, output). The scale of what comes in has no effect."""

    def __init__(self, dim: int, output: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, output, bias=False)
        self.norm = nn.LayerNorm(output)

    def forward(self, vector: Tensor) -> Tensor:
        compressed: Tensor = self.norm(self.linear(vector))
        return compressed


class SoftDbofPool(Pooling):
    """Deep bag of frames (Abu-El-Haija et al., 2016, arXiv:1609.08675) with soft shares.

    Frames are shared out softly among K clusters: the soft bag of words of Miech et al. (2017, arXiv:1706.06905; in
    their code, SoftDbof). The sums and the largest shares over the video, each scaled to length 1, are compressed.

    frames (B, T, D) and mask (B, T) give (B, output).
    """

    def __init__(self, dim: int, clusters: int, output: int) -> None:
        super().__init__()
        self.dim = output
        self.shares = ClusterShares(dim, clusters)
        self.compress = Compress(2 * clusters, output)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        shares = self.shares(blank_padding(frames, mask), mask)  # (B, T, K)
        total, largest = shares.sum(dim=1), shares.amax(dim=1)  # shares are positive, so padding is never the largest
        words = torch.cat([F.normalize(total, dim=-1), F.normalize(largest, dim=-1)], dim=-1)  # (B, 2 K)
        compressed: Tensor = self.compress(words)
        return compressed
