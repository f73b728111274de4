"""Averages of a trial's parameters, which often predict better than the parameters themselves."""

from collections.abc import Iterable, Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn


class MovingAverage:
    """The exponential moving average of a model's parameters over steps: Polyak and Juditsky (1992).

    Step n (from 1) moves it the share 1 - min(``decay``, (1 + n) / (10 + n)) towards the parameters: as
    ``tf.train.ExponentialMovingAverage`` counts, so that a short training does not end near its start.
    ``model`` is the averaged model; ``steps`` are those taken.
    """

    def __init__(self, trained: nn.Module, decay: float) -> None:
        self._decay = decay
        self.model, self.steps = deepcopy(trained), 0
        for module in self.model.modules():
            if isinstance(module, nn.RNNBase):
                module.flatten_parameters()  # on a GPU the copies are not in one piece, as cuDNN wants them

    def update(self, trained: nn.Module) -> None:
        """Take in the parameters after one more step; the first ones as they are."""
        self.steps += 1
        share = 1 - min(self._decay, (1 + self.steps) / (10 + self.steps))
        averages: list[Tensor] = [*self.model.parameters()]
        parameters: list[Tensor] = [*trained.parameters()]
        with torch.no_grad():
            if self.steps == 1:
                torch._foreach_copy_(averages, parameters)
            else:
                torch._foreach_lerp_(averages, parameters, share)
            for average, buffer in zip(self.model.buffers(), trained.buffers(), strict=True):
                average.copy_(buffer)

    def restore(self, steps: int) -> None:
        """Go on after ``steps`` steps; `model` has been loaded."""
        self.steps = steps


def mean_of(states: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor over state dicts of one trial, of which only one is needed at a time.

    Izmailov et al. (2018, arXiv:1803.05407). Averages of separately trained networks predict nothing: arXiv:2301.10092.
    """
    mean: dict[str, Tensor] = {}
    for count, state in enumerate(states, start=1):
        for name, tensor in state.items():
            own = tensor.detach().cpu()
            mean[name] = mean[name].lerp(own, 1 / count) if name in mean else own.clone()
    return mean
