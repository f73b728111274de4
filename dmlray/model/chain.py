"""Mixtures of experts in a chain, each of which knows what those before it predict."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmlray.model.head import MixtureHead


class ChainedHead(nn.Module):
    """Chained mixtures: Wang et al. (2017, arXiv:1706.05150), section 3.1, of the 2nd team of YouTube-8M.

    The probabilities of each `MixtureHead` but the last are mapped to ``link`` numbers, cut at 0, scaled to length 1
    and laid beside the vector for all that follow. Each link is trained to predict as well: in training, vector (B, D)
    gives the logits of all ``links``, (links, B, C), the last of which counts; else those of the last, (B, C).
    """

    def __init__(self, dim: int, classes: int, links: int, link: int, experts: int, dropout: float) -> None:
        super().__init__()
        self.mixtures = nn.ModuleList(MixtureHead(dim + n * link, classes, experts, dropout) for n in range(links))
        self.maps = nn.ModuleList(nn.Linear(classes, link) for _ in range(links - 1))

    def forward(self, vector: Tensor) -> Tensor:
        logits: list[Tensor] = [self.mixtures[0](vector)]
        for mixture, layer in zip(list(self.mixtures)[1:], self.maps, strict=True):
            told = F.normalize(layer(logits[-1].sigmoid()).relu(), dim=-1)
            vector = torch.cat([vector, told], dim=-1)
            logits.append(mixture(vector))
        return torch.stack(logits) if self.training else logits[-1]
