"""From one vector per modality to one per video: [(B, D_1), (B, D_2), ...] give (B, ``dim``) and a penalty.

The penalty is a scalar to be added to the loss; 0 where a fusion asks nothing of its modalities, and always where
there is only one of them.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dmlray.model.gating import ContextGate


class Fused(NamedTuple):
    """vector (B, dim) and penalty (scalar)."""

    vector: Tensor
    penalty: Tensor


class Fusion(nn.Module):
    """What every fusion tells: the width ``dim`` of its vector."""

    dim: int


class ConcatFusion(Fusion):
    """Modalities side by side."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dim = sum(dims)

    def forward(self, vectors: Sequence[Tensor]) -> Fused:
        return Fused(torch.cat(list(vectors), dim=-1), vectors[0].new_zeros(()))


class GatedFusion(Fusion):
    """Modalities side by side, through context gating, so that each may silence the other: Miech et al. (2017)."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dim = sum(dims)
        self.gate = ContextGate(self.dim)

    def forward(self, vectors: Sequence[Tensor]) -> Fused:
        return Fused(self.gate(torch.cat(list(vectors), dim=-1)), vectors[0].new_zeros(()))


class SharedSpaceFusion(Fusion):
    """Each modality mapped linearly into one space, summed there, then tanh: Zhao (2018, arXiv:1811.12563).

    ``init_std`` as for `ProjectionFusion`.
    """

    def __init__(self, dims: Sequence[int], dim: int, init_std: float | None = None) -> None:
        super().__init__()
        self.dim = dim
        self.maps = _linear_maps(dims, dim, init_std)

    def forward(self, vectors: Sequence[Tensor]) -> Fused:
        mapped = [layer(vector) for layer, vector in zip(self.maps, vectors, strict=True)]
        return Fused(torch.stack(mapped).sum(dim=0).tanh(), vectors[0].new_zeros(()))


class ProjectionFusion(Fusion):
    """Each modality projected to one width, pulled together by an L2 term, then side by side.

    Zhao (2018, arXiv:1811.12563): weights start as normal(0, ``init_std``), 0.01 in the paper (None: as linear layers
    do), and the loss gains ``penalty`` times ||p_v - p_a||^2, averaged over the batch; with more than two modalities,
    summed over their pairs.
    """

    def __init__(self, dims: Sequence[int], dim: int, penalty: float, init_std: float | None = 0.01) -> None:
        super().__init__()
        self.dim = dim * len(dims)
        self.penalty = penalty
        self.maps = _linear_maps(dims, dim, init_std)

    def forward(self, vectors: Sequence[Tensor]) -> Fused:
        projected = [layer(vector) for layer, vector in zip(self.maps, vectors, strict=True)]
        distance = vectors[0].new_zeros(())
        for left, right in combinations(projected, 2):
            distance = distance + (left - right).float().square().sum(dim=-1).mean()
        return Fused(torch.cat(projected, dim=-1), self.penalty * distance)


def _linear_maps(dims: Sequence[int], dim: int, init_std: float | None) -> nn.ModuleList:
    maps = nn.ModuleList(nn.Linear(width, dim) for width in dims)
    if init_std is not None:
        for parameter in maps.parameters():
            nn.init.normal_(parameter, mean=0.0, std=init_std)
    return maps
