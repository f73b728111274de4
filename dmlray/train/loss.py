"""What training minimises."""

import torch
import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy summed over classes, mean over videos, as google/youtube-8m's ``CrossEntropyLoss``.

    logits (B, C) and the true classes' indices (B, L), padded with -1, give a float32 scalar. For a target y in {0, 1}
    the term is ``softplus(z) - y * z``, so a video's true logits are gathered and no (B, C) target is built. Taken from
    logits it needs no epsilon (the official code clips probabilities with 1e-5). A label given twice counts once.
    """
    logits = logits.float()
    wanted = (labels >= 0) & ~_repeats(labels)  # (B, L)
    true_logits = logits.gather(1, labels.clamp(min=0)).masked_fill(~wanted, 0.0)  # (B, L)
    return (F.softplus(logits).sum() - true_logits.sum()) / len(logits)


def _repeats(labels: Tensor) -> Tensor:
    """(B, L): True where the same label stands further left in its row."""
    same = labels[:, :, None] == labels[:, None, :]  # (B, L, L)
    return torch.tril(same, diagonal=-1).any(dim=2)
