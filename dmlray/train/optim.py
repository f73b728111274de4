"""Adam as the paper runs it: a staircase decay by videos seen, gradients clipped by norm."""

from collections.abc import Iterable

from torch import nn
from torch.optim import Adam, Optimizer

from dmlray.config import AdamConfig


def learning_rate(videos: int, config: AdamConfig) -> float:
    """The rate once ``videos`` have been seen: multiplied by ``decay`` each ``decay_examples`` videos, in steps."""
    steps = videos // config.decay_examples
    return float(config.learning_rate * config.decay**steps)


def build_optimizer(parameters: Iterable[nn.Parameter], config: AdamConfig) -> Optimizer:
    """Adam in its fused form, one pass over the parameters: 2 to 5x faster than the others, also on CPU."""
    return Adam(parameters, lr=config.learning_rate, fused=True)


def optimizer_step(optimizer: Optimizer, videos: int, config: AdamConfig) -> None:
    """Clip the gradients by their common norm, set the rate for the ``videos`` seen so far, and take one step."""
    rate = learning_rate(videos, config)
    for group in optimizer.param_groups:
        group["lr"] = rate
    if config.clip_norm is not None:
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], config.clip_norm)
    optimizer.step()
