"""Simple recurrent units in plain PyTorch."""

import math

import torch
from torch import Tensor, nn

from dmlray.model.clusters import blank_padding
from dmlray.model.encoder import Encoder


class SruLayer(nn.Module):
    """One direction of a layer of simple recurrent units: Lei et al. (2018, arXiv:1709.02755), eq. 1 to 4.

    frames (B, T, D) and mask (B, T) give the states (B, T, H), 0 on padding. The matrix products of all steps are one;
    what is left to do step by step is element-wise. The paper's highway is scaled by sqrt(1 + 2 exp(b)) with b = 0.
    """

    def __init__(self, dim: int, hidden: int, backward: bool) -> None:
        super().__init__()
        self.backward = backward
        self.project = nn.Linear(dim, 4 * hidden, bias=False)  # candidate, forget gate, reset gate, highway
        self.state_weights = nn.Parameter(torch.empty(2, hidden).uniform_(-1.0, 1.0))
        self.biases = nn.Parameter(torch.zeros(2, hidden))

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        candidates, forget, reset, highway = self.project(blank_padding(frames, mask)).float().chunk(4, dim=-1)
        gates = torch.stack([forget, reset], dim=2) + self.biases  # (B, T, 2, H)
        state = candidates.new_zeros(candidates.shape[0], candidates.shape[2])  # (B, H)
        states, resets = [], []
        for t in reversed(range(mask.shape[1])) if self.backward else range(mask.shape[1]):
            keep, reset = (gates[:, t] + self.state_weights * state[:, None]).sigmoid().unbind(dim=1)
            state = (candidates[:, t] + keep * (state - candidates[:, t])) * mask[:, t, None]  # none before a video
            states.append(state)
            resets.append(reset)
        if self.backward:
            states, resets = states[::-1], resets[::-1]
        reset = torch.stack(resets, dim=1)
        output = reset * torch.stack(states, dim=1) + (1 - reset) * highway * math.sqrt(3.0)
        return blank_padding(output, mask)


class SruStack(Encoder):
    """A stack of `SruLayer`, with dropout between layers; bidirectional layers join the states of both directions.

    frames (B, T, D) and mask (B, T) give (B, T, H), or (B, T, 2 H) if bidirectional: forward, then backward. The
    paper's speed comes from a fused CUDA kernel. Here every step is a handful of small operations and padding costs
    steps: forward and backward take 0.75 of `nn.LSTM`'s time on one CPU core (256 wide, 60 frames of 1,152), but a GPU
    waits for a launch per operation where cuDNN's LSTM is one (not measured here).
    """

    def __init__(self, dim: int, hidden: int, layers: int, bidirectional: bool, dropout: float) -> None:
        super().__init__()
        self.forward_dim = hidden
        self.dim = 2 * hidden if bidirectional else hidden
        directions = (False, True) if bidirectional else (False,)
        self.layers = nn.ModuleList(
            nn.ModuleList(SruLayer(self.dim if i else dim, hidden, backward) for backward in directions)
            for i in range(layers)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            frames = self.dropout(frames) if i else frames
            frames = torch.cat([direction(frames, mask) for direction in layer.children()], dim=-1)
        return frames
