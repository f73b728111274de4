"""The optimisers, which parameters decay, and a step with clipped gradients."""

from collections.abc import Iterator
from typing import Any

from schedulefree import AdamWScheduleFree
from torch import nn
from torch.amp import GradScaler
from torch.optim import Adam, AdamW, Optimizer

from dmlray.config import AdamConfig, AdamWConfig, ScheduleFreeConfig

OptimizerConfig = AdamConfig | AdamWConfig | ScheduleFreeConfig


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """The optimiser of ``config`` over all parameters of ``model``.

    Adam and AdamW come fused, one pass over the parameters: 2 to 5x faster than the others, also on CPU.
    """
    if isinstance(config, AdamConfig):
        return Adam(model.parameters(), lr=config.learning_rate, fused=True)
    groups = list(_decay_groups(model, config.weight_decay))
    if isinstance(config, AdamWConfig):
        return AdamW(groups, lr=config.learning_rate, fused=True)
    optimizer: Optimizer = AdamWScheduleFree(groups, lr=config.learning_rate)
    return optimizer


def optimizer_step(optimizer: Optimizer, scaler: GradScaler, rate: float, clip_norm: float | None) -> None:
    """Undo the scaling of the gradients, clip them by their common norm, set the learning rate, and take one step.

    A step whose scaled gradients overflowed is left out by ``scaler``, which then scales less.
    """
    for group in optimizer.param_groups:
        group["lr"] = rate
    scaler.unscale_(optimizer)
    if clip_norm is not None:
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip_norm)
    scaler.step(optimizer)
    scaler.update()


def set_training(optimizer: Optimizer, training: bool) -> None:
    """Give a schedule-free optimiser's parameters the values to take gradients at, or else those of the model.

    The others have one set of values for both.
    """
    if isinstance(optimizer, AdamWScheduleFree):
        optimizer.train() if training else optimizer.eval()


def _decay_groups(model: nn.Module, weight_decay: float) -> Iterator[dict[str, Any]]:
    """Matrices decay; biases and norms, which have no direction to shrink in, do not."""
    decaying: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_weight = parameter.dim() > 1 and "bias" not in name.rpartition(".")[2]
        (decaying if is_weight else others).append(parameter)
    for parameters, decay in ((decaying, weight_decay), (others, 0.0)):
        if parameters:
            yield {"params": parameters, "weight_decay": decay}
