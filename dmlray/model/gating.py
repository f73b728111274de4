"""Context gating: each number of a vector is let through as far as all the others suggest."""

import torch
from torch import Tensor, nn


class ContextGate(nn.Module):
    """sigmoid(W x + b) * x: context gating of features, Miech et al. (2017, arXiv:1706.06905). (B, D) give (B, D)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gates = nn.Linear(dim, dim)

    def forward(self, vector: Tensor) -> Tensor:
        gated: Tensor = self.gates(vector).sigmoid() * vector
        return gated


class ClassGate(nn.Module):
    """Context gating of the classes' probabilities p = sigmoid(l): Miech et al. (2017, arXiv:1706.06905).

    logits l (B, C) give the logits of p * sigmoid(a), with a = W p + b. These are computed without ever leaving the
    logarithms, since 1 / (p sigmoid(a)) - 1 = exp(-l) + exp(-a) + exp(-l - a), and so are finite for any finite l.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.gates = nn.Linear(classes, classes)

    def forward(self, logits: Tensor) -> Tensor:
        logits = logits.float()
        gates = self.gates(logits.sigmoid()).float()
        return -torch.stack([-logits, -gates, -logits - gates]).logsumexp(dim=0)
