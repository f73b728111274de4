"""From the frames of a video to one vector: frames (B, T, D) and mask (B, T), True on real frames, give (B, ``dim``).

Every video has at least one real frame and real frames come first: `data.batch` guarantees both. What stands on
padding, any finite number, has no influence.
"""

import torch
from torch import Tensor, nn


class Pooling(nn.Module):
    """What every pooling tells: the width ``dim`` of its vector."""

    dim: int


class MeanPool(Pooling):
    """Mean over the real frames."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        total = frames.masked_fill(~mask[..., None], 0.0).sum(dim=1)
        return total / mask.sum(dim=1, keepdim=True)


class MaxPool(Pooling):
    """Largest value of each feature over the real frames."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        return frames.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)


class LastPool(Pooling):
    """The state after the whole video: what a recurrent encoder knows at its end.

    The first ``forward_dim`` columns are taken at the last real frame; the others, which a backward direction
    computed, at the first frame, where that direction ends.
    """

    def __init__(self, dim: int, forward_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.forward_dim = forward_dim

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        last = (mask.sum(dim=1) - 1)[:, None, None].expand(-1, 1, self.forward_dim)
        ends = frames[..., : self.forward_dim].gather(1, last).squeeze(1)
        return torch.cat([ends, frames[:, 0, self.forward_dim :]], dim=-1)


class AttentionPool(Pooling):
    """Softmax-weighted mean over frames: Yang et al. (2016), eq. 8-10."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.project = nn.Linear(dim, dim)
        self.context = nn.Linear(dim, 1, bias=False)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        scores = self.context(torch.tanh(self.project(frames))).squeeze(-1)  # (B, T)
        weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)  # padding gets exactly 0
        return torch.einsum("bt,btd->bd", weights.to(frames.dtype), frames)
