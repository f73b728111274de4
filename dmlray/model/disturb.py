"""What training disturbs on purpose: modalities left out, videos mixed."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Mixing(NamedTuple):
    """Video i of a batch becomes ``share[i]`` of itself and the rest of video ``partner[i]``: both (B,)."""

    partner: Tensor
    share: Tensor

    def mix(self, values: Tensor) -> Tensor:
        """values (B, ...) of the videos, mixed."""
        share = self.share.to(values.dtype).reshape(-1, *[1] * (values.dim() - 1))
        return share * values + (1 - share) * values[self.partner]


def draw_mixing(videos: int, alpha: float, device: torch.device) -> Mixing:
    """Mixup: Zhang et al. (2018, arXiv:1710.09412), a share from Beta(alpha, alpha) for each video.

    Drawn from torch's global generator of ``device``.
    """
    shape = torch.full((videos,), alpha, device=device)
    share = torch.distributions.Beta(shape, shape, validate_args=False).sample()
    return Mixing(torch.randperm(videos, device=device), share)


class ModalityDropout(nn.Module):
    """While training, blanks each modality of each video with ``probability``, but never all of a video's.

    Neverova et al. (2015, arXiv:1501.00102, ModDrop). Where chance would blank all, one of them, any, stays.
    frames {modality: (B, T, D)} give the same; what is left is not scaled up.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, frames: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if not self.training or not self.probability:
            return frames
        first = next(iter(frames.values()))
        draws = torch.rand(len(first), len(frames), device=first.device)  # (B, modalities)
        kept = (draws >= self.probability) | (draws == draws.amax(dim=1, keepdim=True))
        columns = zip(frames.items(), kept.unbind(dim=1), strict=True)
        return {name: values * keep[:, None, None] for (name, values), keep in columns}
