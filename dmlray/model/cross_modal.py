"""Attention between modalities."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmlray.model.fusion import Fused, Fusion


class CrossModalFusion(Fusion):
    """Modalities as the tokens of one multi-head attention (Vaswani et al., 2017, arXiv:1706.03762, eq. 1).

    Each modality's vector is mapped to ``dim`` and normalised, gains what it finds in the others and itself, and they
    stand side by side. The attention is over whole modalities, after pooling: there are as many tokens as modalities,
    and one alone attends to itself. ``heads`` divides ``dim``.
    Normalised tokens are long: with ``dim`` 512, Adam at 0.001 learns and at 0.005 does not.

    [(B, D_1), (B, D_2), ...] give (B, dim times modalities).
    """

    def __init__(self, dims: Sequence[int], dim: int, heads: int) -> None:
        super().__init__()
        assert dim % heads == 0
        self.dim = dim * len(dims)
        self.heads = heads
        self.maps = nn.ModuleList(nn.Linear(width, dim) for width in dims)
        self.norm = nn.LayerNorm(dim)
        self.read = nn.Linear(dim, 3 * dim, bias=False)  # queries, keys, values
        self.write = nn.Linear(dim, dim)

    def forward(self, vectors: Sequence[Tensor]) -> Fused:
        tokens = self.norm(torch.stack([layer(v) for layer, v in zip(self.maps, vectors, strict=True)], dim=1))
        query, key, value = self.read(tokens).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2).chunk(3, dim=1)
        found = F.scaled_dot_product_attention(query, key, value)  # (B, heads, M, dim / heads)
        tokens = tokens + self.write(found.transpose(1, 2).flatten(2))
        return Fused(tokens.flatten(1), vectors[0].new_zeros(()))
