"""Convolutions over time."""

from torch import Tensor, nn

from dmlray.model.clusters import blank_padding
from dmlray.model.encoder import Encoder


class ResidualBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))): He et al. (2016, arXiv:1603.05027), over time.

    frames (B, T, H), 0 on padding, and mask (B, T) give the same shape. A video's edges see zeros, as padding does, so
    that a video in a batch is as it is alone.
    """

    def __init__(self, hidden: int, reach: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(2))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(hidden, hidden, 2 * reach + 1, padding=reach, bias=bias) for bias in (False, True)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        inner = frames
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            inner = blank_padding(norm(inner).relu(), mask)  # again before each: a norm's bias fills the padding
            inner = convolution(inner.transpose(1, 2)).transpose(1, 2)  # (B, T, H)
        return frames + blank_padding(self.dropout(inner), mask)


class ConvolutionStack(Encoder):
    """A linear layer to H, then residual blocks over time: the temporal residual network of Li et al. (2017).

    arXiv:1707.04555; with layer where they have batch normalisation, for the reasons in `model.clusters`. A block sees
    2 ``reach`` frames to either side.

    frames (B, T, D) and mask (B, T) give (B, T, H), 0 on padding. No column has a direction: `LastPool` takes all at
    the last frame.
    """

    def __init__(self, dim: int, hidden: int, layers: int, reach: int, dropout: float) -> None:
        super().__init__()
        self.dim = self.forward_dim = hidden
        self.widen = nn.Linear(dim, hidden)
        self.blocks = nn.ModuleList(ResidualBlock(hidden, reach, dropout) for _ in range(layers))

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        frames = blank_padding(self.widen(blank_padding(frames, mask)), mask)
        for block in self.blocks:
            frames = block(frames, mask)
        return frames
