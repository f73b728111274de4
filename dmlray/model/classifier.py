"""The whole model: frames of each modality -> encoder -> pooling -> fusion -> head."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dmlray.model.frames import FrameInput


class ModelOutput(NamedTuple):
    """logits (B, C), and a penalty (scalar) to be added to the loss."""

    logits: Tensor
    penalty: Tensor


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
    there and are ignored.
    """

    def __init__(self, frames: FrameInput, towers: Sequence[Tower], fusion: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.frames = frames
        self.towers = nn.ModuleList(towers)
        self.fusion = fusion
        self.head = head

    def forward(self, features: Mapping[str, Tensor], mask: Tensor) -> ModelOutput:
        frames = self.frames(features, mask)
        fused = self.fusion([tower(frames, mask) for tower in self.towers])
        return ModelOutput(self.head(fused.vector), fused.penalty)
