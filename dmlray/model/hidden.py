"""Layers between the video's vector and the head."""

from torch import Tensor, nn


class PerceptronLayer(nn.Sequential):
    """One hidden layer: dropout(relu(norm(W dropout(x)))). vector (B, D) gives (B, dim).

    Without a bias, which would outweigh W x at first where x has length 1; the norm has one. Ostyakov et al. (2018,
    arXiv:1809.04403, ResNetLike in their code) normalise over the batch; why not here says `model.clusters`.
    """

    def __init__(self, width: int, dim: int, dropout: float, input_dropout: float) -> None:
        super().__init__(
            nn.Dropout(input_dropout),
            nn.Linear(width, dim, bias=False),
            nn.LayerNorm(dim),
            nn.ReLU(),
            nn.Dropout(dropout),
        )


class ResidualLayers(nn.Module):
    """A residual perceptron: Gorishniy et al. (2021, arXiv:2106.11959), section 3.2, over a widened vector.

    The vector is mapped to ``dim``; each of ``layers`` blocks adds dropout(W2 dropout(relu(W1 norm(x)))); norm and
    relu end the last. The paper batch-normalises; here layers are normalised, for the reasons in `model.clusters`.

    vector (B, D) gives (B, dim).
    """

    def __init__(self, width: int, dim: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.widen = nn.Linear(width, dim)
        self.blocks = nn.ModuleList(_Block(dim, dropout) for _ in range(layers))
        self.last = nn.Sequential(nn.LayerNorm(dim), nn.ReLU())

    def forward(self, vector: Tensor) -> Tensor:
        vector = self.widen(vector)
        for block in self.blocks:
            vector = block(vector)
        activated: Tensor = self.last(vector)
        return activated


class _Block(nn.Module):
    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, dim),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(dim, dim),
            nn.Dropout(dropout),
        )

    def forward(self, vector: Tensor) -> Tensor:
        added: Tensor = vector + self.layers(vector)
        return added
