"""Many attentions side by side, kept from looking at the same frames."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmlray.model.clusters import Compress, blank_padding
from dmlray.model.pooling import Pooling


class AttentionClustersPool(Pooling):
    """Attention clusters with the shifting operation: Long et al. (2018, arXiv:1711.09550).

    Each of N attentions v_n = softmax(W x)_n X is shifted, (alpha_n v_n + beta_n) / (sqrt(N) ||alpha_n v_n + beta_n||),
    which drives them apart. The paper classifies the N D values as they stand; here they are compressed first.

    frames (B, T, D) and mask (B, T) give (B, output).
    """

    def __init__(self, dim: int, clusters: int, output: int) -> None:
        super().__init__()
        self.dim = output
        self.scores = nn.Linear(dim, clusters)
        self.scale = nn.Parameter(torch.ones(clusters, 1))
        self.shift = nn.Parameter(0.01 * torch.randn(clusters, 1))  # at 0 the length would hide the scale
        self.compress = Compress(clusters * dim, output)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        frames = blank_padding(frames, mask)
        scores = self.scores(frames).masked_fill(~mask[..., None], -torch.inf)
        attended = torch.einsum("btn,btd->bnd", scores.softmax(dim=1), frames)  # (B, N, D)
        shifted = F.normalize(self.scale * attended + self.shift, dim=-1) / math.sqrt(len(self.scale))
        compressed: Tensor = self.compress(shifted.flatten(1))
        return compressed
