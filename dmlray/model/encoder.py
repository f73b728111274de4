"""Layers over time: frames (B, T, D) and mask (B, T) give frames (B, T, ``dim``).

Every encoder tells its output width ``dim`` and ``forward_dim``, how many of those columns know the most at the last
frame; they come first, and the others, if any, were computed running backward.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from dmlray.model.clusters import blank_padding
from dmlray.model.padded_gru import padded_gru


class Encoder(nn.Module):
    """What every encoder tells of its output."""

    dim: int
    forward_dim: int


class BagOfFrames(Encoder):
    """No encoder: frames stay as they are."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = self.forward_dim = dim

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        return frames


class RecurrentStack(Encoder):
    """A stack of LSTM (Hochreiter and Schmidhuber, 1997) or GRU layers (Cho et al., 2014), with dropout between them.

    frames (B, T, D) and mask (B, T) give the states (B, T, H), or (B, T, 2 H) if bidirectional: forward, then
    backward; 0 on padding. Real frames come first in every video and there is at least one: `data.batch` guarantees
    it. Sequences are packed, so that padding costs no time steps, the backward direction starts at the last real
    frame, and cuDNN's fused kernels stay in use; a GRU on a CPU does better without (`padded_gru`). So does a GPU in
    one direction: it takes as many steps as the longest video has in any case, states are real before they reach
    padding, and lengths, which packing wants on the CPU, need not be waited for. ``dropout`` needs a second layer to
    do anything.
    """

    def __init__(
        self,
        cell: type[nn.LSTM] | type[nn.GRU],
        dim: int,
        hidden: int,
        layers: int,
        bidirectional: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.cells = cell(
            dim,
            hidden,
            num_layers=layers,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,
            batch_first=True,
        )
        self.forward_dim = hidden
        self.dim = 2 * hidden if bidirectional else hidden
        if cell is nn.LSTM:
            self._open_forget_gates(hidden)

    def _open_forget_gates(self, hidden: int) -> None:
        """Forget bias 1, as the official models have it: a new LSTM remembers (Jozefowicz et al., 2015)."""
        for name, parameter in self.cells.named_parameters():
            if name.startswith("bias"):  # gates stand in the order input, forget, cell, output
                nn.init.constant_(parameter.data[hidden : 2 * hidden], float(name.startswith("bias_ih")))

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        if frames.is_meta:  # the dry build: without values there are no lengths to pack by
            return frames.new_empty(*mask.shape, self.dim)
        if isinstance(self.cells, nn.GRU) and not frames.is_cuda:
            return padded_gru(self.cells, frames, mask)
        if frames.is_cuda and not self.cells.bidirectional:
            return blank_padding(self.cells(frames)[0], mask)
        lengths = mask.sum(dim=1).to("cpu", torch.int64)
        packed = pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.cells(packed)[0], batch_first=True, total_length=frames.shape[1])[0]


class ResidualStack(Encoder):
    """Recurrent layers with short cuts: each layer after the first adds to what it was given, Wu et al. (2016).

    arXiv:1609.08144, section 3.1. frames and mask as for `RecurrentStack`, which each layer is; dropout acts on what a
    later layer is given, not on the short cut. With one layer there is nothing to add to.
    """

    def __init__(
        self,
        cell: type[nn.LSTM] | type[nn.GRU],
        dim: int,
        hidden: int,
        layers: int,
        bidirectional: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.first = RecurrentStack(cell, dim, hidden, 1, bidirectional, 0.0)
        self.dim, self.forward_dim = self.first.dim, self.first.forward_dim
        self.others = nn.ModuleList(
            RecurrentStack(cell, self.dim, hidden, 1, bidirectional, 0.0) for _ in range(layers - 1)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = self.first(frames, mask)
        for layer in self.others:
            states = states + layer(self.dropout(states), mask)
        return states
