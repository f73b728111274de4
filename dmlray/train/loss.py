"""What training minimises. Targets are never laid out over all classes: they are mostly 0."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Targets(NamedTuple):
    """For each video the ``classes`` (B, L) int64 whose target is not 0, with their ``values`` (B, L) float32.

    A class given twice has the sum of its values. Padding is any class with the value 0.
    """

    classes: Tensor
    values: Tensor


def label_targets(labels: Tensor) -> Targets:
    """1 for the true classes of each video: labels (B, L), padded with -1; a label given twice counts once."""
    return Targets(labels.clamp(min=0), ((labels >= 0) & ~_repeats(labels)).float())


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """`target_cross_entropy` of logits (B, C) with the true classes' indices (B, L), padded with -1."""
    return target_cross_entropy(logits, label_targets(labels))


def target_cross_entropy(
    logits: Tensor, targets: Targets, smoothing: float = 0.0, positive_weight: float = 1.0
) -> Tensor:
    """Binary cross-entropy summed over classes, mean over videos, as google/youtube-8m's ``CrossEntropyLoss``.

    logits z (B, C) give a float32 scalar. With w the ``positive_weight``, the term of a target y is
    ``w y softplus(-z) + (1 - y) softplus(z) = softplus(z) + y ((w - 1) softplus(z) - w z)``: linear in y, so the second
    part is gathered where y is not 0. ``smoothing`` e stands for y (1 - e) + e / 2, whose second part of a half e for
    all classes needs sums over them only. Taken from logits it needs no epsilon (the official code clips probabilities
    with 1e-5).
    """
    logits = logits.float()
    chosen = logits.gather(1, targets.classes)  # (B, L)
    gain = -positive_weight * chosen
    if positive_weight != 1.0:
        gain = gain + (positive_weight - 1) * F.softplus(chosen)
    gain = gain.masked_fill(targets.values == 0, 0.0)
    total = (1 + (positive_weight - 1) * smoothing / 2) * F.softplus(logits).sum()
    if smoothing:
        total = total - positive_weight * smoothing / 2 * logits.sum()
    return (total + (1 - smoothing) * (targets.values * gain).sum()) / len(logits)


def _repeats(labels: Tensor) -> Tensor:
    """(B, L): True where the same label stands further left in its row."""
    same = labels[:, :, None] == labels[:, None, :]  # (B, L, L)
    return torch.tril(same, diagonal=-1).any(dim=2)
