"""The whole model: frames of each modality -> encoder -> pooling -> fusion -> head."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dmlray.model.disturb import Mixing, ModalityDropout
from dmlray.model.frames import FrameInput


class ModelOutput(NamedTuple):
    """logits (B, C), and a penalty (scalar) to be added to the loss.

    ``others`` (N, B, C), only in training, are logits of parts of the model that are trained to predict as well.
    """

    logits: Tensor
    penalty: Tensor
    others: Tensor | None = None


class Tower(nn.Module):
    """Encoder and pooling over the frames of some modalities, side by side in each frame: (B, T, D_i) give (B, H)."""

    def __init__(self, modalities: Sequence[str], encoder: nn.Module, pooling: nn.Module) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        self.encoder = encoder
        self.pooling = pooling

    def forward(self, frames: Mapping[str, Tensor], mask: Tensor) -> Tensor:
        joined = torch.cat([frames[name] for name in self.modalities], dim=-1)  # (B, T, D)
        vector: Tensor = self.pooling(self.encoder(joined, mask), mask)
        return vector


class Classifier(nn.Module):
    """Towers side by side, fused, then classified. One tower over all modalities is an early fusion.

    features {modality: (B, T, D), uint8 or float32} and mask (B, T), True on real frames, give a ModelOutput. Real
    frames come first and every video has one: `data.batch` guarantees both. Modalities that no tower reads may be
    there and are ignored. With a ``mixing`` each tower's vectors are mixed (Verma et al., 2019, arXiv:1806.05236): so
    videos of different lengths can be, and padding stays without influence.
    """

    def __init__(
        self,
        frames: FrameInput,
        towers: Sequence[Tower],
        fusion: nn.Module,
        head: nn.Module,
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.frames = frames
        self.modality_dropout = ModalityDropout(modality_dropout)
        self.towers = nn.ModuleList(towers)
        self.fusion = fusion
        self.head = head

    def forward(self, features: Mapping[str, Tensor], mask: Tensor, mixing: Mixing | None = None) -> ModelOutput:
        frames = self.modality_dropout(self.frames(features, mask))
        vectors = [tower(frames, mask) for tower in self.towers]
        fused = self.fusion(vectors if mixing is None else [mixing.mix(vector) for vector in vectors])
        logits = self.head(fused.vector)
        if logits.dim() == 3:  # a chain, in training
            return ModelOutput(logits[-1], fused.penalty, logits[:-1])
        return ModelOutput(logits, fused.penalty)
