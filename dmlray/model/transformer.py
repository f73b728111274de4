"""Self-attention over time."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmlray.model.clusters import blank_padding
from dmlray.model.encoder import Encoder

_WIDENING = 4  # of the feed-forward layer, as in Vaswani et al.


def sinusoids(steps: int, dim: int, device: torch.device) -> Tensor:
    """Positions as waves: Vaswani et al. (2017, arXiv:1706.03762), section 3.5. Gives (T, D)."""
    position = torch.arange(steps, device=device)[:, None]
    pair = torch.arange(dim, device=device) // 2
    angle = position * torch.exp(pair * (-2 * math.log(10_000.0) / dim))
    return torch.where(torch.arange(dim, device=device) % 2 == 0, angle.sin(), angle.cos())


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward layer, each normalised before and added: Xiong et al. (2020), pre-norm.

    frames (B, T, H) and mask (B, T) give the same shape; no frame looks at padding. ``heads`` divides H.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        assert dim % heads == 0
        self.heads = heads
        self.norm = nn.LayerNorm(dim)
        self.read = nn.Linear(dim, 3 * dim, bias=False)  # queries, keys, values
        self.write = nn.Linear(dim, dim)
        self.feed = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, _WIDENING * dim), nn.GELU(), nn.Linear(_WIDENING * dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        parts = self.read(self.norm(frames)).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2)
        query, key, value = parts.chunk(3, dim=1)  # (B, heads, T, H / heads)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
        frames = frames + self.dropout(self.write(found.transpose(1, 2).flatten(2)))
        added: Tensor = frames + self.dropout(self.feed(frames))
        return added


class TransformerStack(Encoder):
    """A Transformer encoder (Vaswani et al., 2017), pre-norm (Xiong et al., 2020, arXiv:2002.04745).

    Frames are mapped to H and normalised, so that positions weigh the same whatever the features' scale.

    frames (B, T, D) and mask (B, T) give (B, T, H), 0 on padding. No column has a direction: `LastPool` takes all at
    the last frame.
    """

    def __init__(self, dim: int, hidden: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.dim = self.forward_dim = hidden
        self.widen = nn.Sequential(nn.Linear(dim, hidden), nn.LayerNorm(hidden))
        self.layers = nn.ModuleList(TransformerLayer(hidden, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        frames = self.widen(blank_padding(frames, mask))
        frames = self.dropout(frames + sinusoids(frames.shape[1], self.dim, frames.device))
        for layer in self.layers:
            frames = layer(frames, mask)
        return blank_padding(self.norm(frames), mask)
