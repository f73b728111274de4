"""Several workers that train one trial together, each on its share of every batch, through `torch.distributed`.

All hold the same parameters and take the same steps; only the videos that they see differ. Gradients are summed once a
step by hand, not by `DistributedDataParallel`, which sums them while they are made: so a worker whose memory runs out
can repeat its share in smaller parts, and the others need not know.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

Value = TypeVar("Value")


@dataclass(frozen=True)
class Peers:
    """This worker's ``rank`` among ``size``, which all make the same calls in the same order."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """The first one writes files and talks to the driver."""
        return self.rank == 0

    def totals(self, *counts: int) -> list[int]:
        """Sum of each count over all workers."""
        if self.size == 1:
            return list(counts)
        summed = torch.tensor(counts)
        dist.all_reduce(summed)
        found: list[int] = summed.tolist()
        return found

    def average(self, parameters: Iterable[nn.Parameter], loss: Tensor, share: float) -> Tensor:
        """Make gradients and loss those of the batch: each worker's weigh by its ``share`` of the batch's videos."""
        if self.size == 1:
            return loss
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]  # none: its share had no video
        flat = torch.cat([*(part.flatten() for part in parts), loss.detach().float().reshape(1)]) * share
        dist.all_reduce(flat)
        sizes = [parameter.numel() for parameter in trained]
        for parameter, gradient in zip(trained, torch.split(flat[:-1], sizes), strict=True):
            parameter.grad = gradient.view_as(parameter)
        return flat[-1]

    def agree(self, value: Value) -> Value:
        """What the first worker says."""
        if self.size == 1:
            return value
        said: list[Any] = [value]
        dist.broadcast_object_list(said, device=torch.device("cpu"))
        first: Value = said[0]
        return first

    def gather(self, value: Value) -> list[Value]:
        """Every worker's value, by rank, for the first worker; none for the others."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.gather_object(value, values if self.is_first else None)
        return values if self.is_first else []


ALONE = Peers()
