"""From a batch's raw features to the frames that towers see."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

_LEAST_SQUARED_NORM = 1e-12  # as tf.nn.l2_normalize: a frame of zeros stays zero


def dequantize(values: Tensor, minimum: float, maximum: float) -> Tensor:
    """uint8 values of any shape to float32 in the middle of their bins (google/youtube-8m ``utils.Dequantize``).

    With the range -2 to 2: ``x * 4/255 + (4/512 - 2)``, so 0 gives -1.9921875 and 255 gives 2.0078125.
    """
    width = maximum - minimum
    return values.mul(width / 255.0).add_(width / 512.0 + minimum)


class FrameInput(nn.Module):
    """Dequantises, blanks the padding and, where asked, scales each frame to length 1.

    ``ranges`` names the modalities and the range (minimum, maximum) that their uint8 values stand for; float values
    stay as they are. The length of a frame is taken over its modalities side by side, as the official reader and
    models do, so that loud audio makes the picture smaller.

    ``component_decay`` p multiplies number i (from 1) of each modality with i^-p beforehand. YouTube-8M's features are
    principal components, in falling order, that whitening made equally large (Abu-El-Haija et al., 2016, section 3.2);
    p > 0 takes some of it back, so that distances between videos are less those of the noise in the last components.

    Frames of the modalities in ``modality_lengths`` are then scaled to that length, each modality by itself, so that
    sound counts for as much in one video as in another. On YouTube-8M's averaged vectors sound is 0.6 times as long as
    the picture, but from 0.3 to 1.05 times in nine videos of ten.

    features {modality: (B, T, D), uint8 or float32} and mask (B, T) give {modality: (B, T, D) float32}, 0 on padding.
    """

    def __init__(
        self,
        ranges: Mapping[str, tuple[float, float]],
        l2_normalize: bool,
        component_decay: float = 0.0,
        modality_lengths: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.ranges = dict(ranges)
        self.l2_normalize = l2_normalize
        self.component_decay = component_decay
        self.modality_lengths = dict(modality_lengths or {})

    def forward(self, features: Mapping[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
        padding = ~mask[..., None]  # (B, T, 1)
        frames = {}
        for name, (minimum, maximum) in self.ranges.items():
            values = features[name]
            if values.dtype == torch.uint8:
                values = dequantize(values, minimum, maximum)
            frames[name] = values.masked_fill(padding, 0.0)  # after dequantising: a raw 0 means -1.99
            if self.component_decay:
                ranks = torch.arange(1, values.shape[-1] + 1, device=values.device, dtype=values.dtype)
                frames[name] = frames[name] * ranks.pow(-self.component_decay)
            if name in self.modality_lengths:
                frames[name] = self.modality_lengths[name] * _normalized({name: frames[name]})[name]
        return _normalized(frames) if self.l2_normalize else frames


def _normalized(frames: dict[str, Tensor]) -> dict[str, Tensor]:
    norms = [torch.linalg.vector_norm(values, dim=-1, keepdim=True) for values in frames.values()]  # (B, T, 1) each
    squared = torch.cat(norms, dim=-1).square().sum(dim=-1, keepdim=True)
    scale = squared.clamp(min=_LEAST_SQUARED_NORM).rsqrt()
    return {name: values * scale for name, values in frames.items()}
