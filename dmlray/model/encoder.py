"""Layers over time: frames (B, T, D) and mask (B, T) give frames (B, T, ``dim``).

Every encoder tells its output width ``dim`` and ``forward_dim``, how many of those columns its last layer computed
running forward; they come first, and the others, if any, were computed running backward.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class BagOfFrames(nn.Module):
    """No encoder: frames stay as they are."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = self.forward_dim = dim

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        return frames


class RecurrentStack(nn.Module):
    """A stack of LSTM (Hochreiter and Schmidhuber, 1997) or GRU layers (Cho et al., 2014), with dropout between them.

    frames (B, T, D) and mask (B, T) give the states (B, T, H), or (B, T, 2 H) if bidirectional: forward, then
    backward; 0 on padding. Real frames come first in every video and there is at least one: `data.batch` guarantees
    it. Sequences are packed, so that padding costs no time steps, the backward direction starts at the last real
    frame, and cuDNN's fused kernels stay in use. ``dropout`` needs a second layer to do anything.
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
        lengths = mask.sum(dim=1).to("cpu", torch.int64)
        packed = pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.cells(packed)[0], batch_first=True, total_length=frames.shape[1])[0]
