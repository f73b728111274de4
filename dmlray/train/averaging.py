"""Averages of a trial's parameters, which often predict better than the parameters themselves."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class MovingAverage:
    """The exponential moving average of a model's parameters over steps: Polyak and Juditsky (1992).

    Step n (from 1) moves it the share 1 - min(``decay``, (1 + n) / (10 + n)) towards the parameters: as
    ``tf.train.ExponentialMovingAverage`` counts, so that a short training does not end near its start.
    ``model`` is the averaged model; ``steps`` are those taken.
    """

    def __init__(self, trained: nn.Module, decay: float) -> None:
        self._decay = decay
        self._average = AveragedModel(trained, multi_avg_fn=self._blend)

    @property
    def model(self) -> nn.Module:
        return self._average.module

    @property
    def steps(self) -> int:
        return int(self._average.n_averaged)

    def update(self, trained: nn.Module) -> None:
        """Take in the parameters after one more step."""
        self._average.update_parameters(trained)

    def restore(self, steps: int) -> None:
        """Go on after ``steps`` steps; `model` has been loaded."""
        self._average.n_averaged.fill_(steps)

    def _blend(self, averages: Sequence[Tensor], parameters: Sequence[Tensor], _: Tensor | int) -> None:
        step = self.steps + 1
        share = 1 - min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(averages), list(parameters), share)


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
