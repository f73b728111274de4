"""Video-level statistics of frames, without parameters."""

import torch
from torch import Tensor

from dmlray.model.clusters import blank_padding
from dmlray.model.pooling import Pooling

_LEAST_VARIANCE = 1e-12  # below it the deviation counts as constant: the slope of a root at 0 is infinite


class StatisticsPool(Pooling):
    """Mean, standard deviation and the ``top`` largest values of each feature: Abu-El-Haija et al. (2016).

    frames (B, T, D) and mask (B, T) give (B, (2 + top) D): means, deviations, largest, second largest and so on. In
    a video with fewer frames than ``top`` its smallest value stands for those it lacks. The whitening of
    that paper (arXiv:1609.08675) is not done: it needs a pass over all data first.
    """

    def __init__(self, dim: int, top: int) -> None:
        super().__init__()
        self.dim = (2 + top) * dim
        self.top = top

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        frames = blank_padding(frames, mask)
        count = mask.sum(dim=1, keepdim=True)  # (B, 1)
        mean = frames.sum(dim=1) / count
        variance = blank_padding(frames - mean[:, None], mask).square().sum(dim=1) / count
        statistics = [mean, variance.clamp(min=_LEAST_VARIANCE).sqrt()]
        if self.top:
            statistics.append(self._largest(frames, mask, count).flatten(1))
        return torch.cat(statistics, dim=-1)

    def _largest(self, frames: Tensor, mask: Tensor, count: Tensor) -> Tensor:
        """(B, top, D), in falling order."""
        real = frames.masked_fill(~mask[..., None], -torch.inf)
        sorted_ = real.topk(min(self.top, frames.shape[1]), dim=1).values
        ranks = torch.arange(self.top, device=frames.device).minimum(count - 1)  # (B, top)
        return sorted_.gather(1, ranks[..., None].expand(-1, -1, frames.shape[2]))
