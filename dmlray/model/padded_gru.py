"""GRU layers over padded frames on a CPU, where packing costs more than the padding it saves."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def padded_gru(cells: nn.GRU, frames: Tensor, mask: Tensor) -> Tensor:
    """What ``cells`` (``batch_first``) give for packed sequences, without packing them.

    frames (B, T, D) and mask (B, T), real frames first, give (B, T, H) or (B, T, 2 H), 0 on padding. PyTorch's packed
    layers cut each step out of the frames of all steps, and the gradient of each cut is as large as all of them: for
    300 frames that is most of the time. Here padding is computed too; the backward direction sees each video turned
    around within its own length, so that it starts at the last real frame.
    """
    steps = torch.arange(frames.shape[1], device=frames.device)
    turned = torch.where(mask, mask.sum(dim=1, keepdim=True) - 1 - steps, steps)[..., None]  # (B, T, 1)
    directions = 2 if cells.bidirectional else 1
    for layer in range(cells.num_layers):
        frames = F.dropout(frames, cells.dropout, cells.training) if layer else frames
        weights = cells.all_weights[directions * layer : directions * (layer + 1)]
        states = [_run(weights[0], frames)]
        if cells.bidirectional:
            states.append(_turn(_run(weights[1], _turn(frames, turned)), turned))
        frames = torch.cat(states, dim=-1)
    return frames.masked_fill(~mask[..., None], 0.0)


def _turn(frames: Tensor, order: Tensor) -> Tensor:
    return frames.gather(1, order.expand(-1, -1, frames.shape[2]))


def _run(weights: Sequence[Tensor], frames: Tensor) -> Tensor:
    """One direction of one layer over all frames."""
    start = frames.new_zeros(1, len(frames), weights[1].shape[1])
    has_biases, layers, dropout, training, bidirectional, batch_first = True, 1, 0.0, False, False, True
    output: Tensor = torch._VF.gru(
        frames, start, tuple(weights), has_biases, layers, dropout, training, bidirectional, batch_first
    )[0]
    return output
