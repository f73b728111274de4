"""In which numbers a model computes while it trains; its parameters and the loss are float32 always."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

_DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
_COUNTS = ("growth_interval", "_growth_tracker")  # of a scaler's state


class Precision:
    """Autocast to ``dtype`` (None: float32 throughout). Where anything is float16, whose gradients vanish below 6e-8,
    losses are scaled up by a factor that grows until gradients overflow: Micikevicius et al. (2018, arXiv:1710.03740).

    PyTorch's autocast runs cuDNN's recurrent layers in float16 whatever it is asked for (its AutocastRNN.cpp), so
    where a model ``is_recurrent`` bfloat16 needs that as well.
    """

    def __init__(self, dtype: torch.dtype | None, device: torch.device, is_recurrent: bool = False) -> None:
        self._dtype, self._device = dtype, device
        is_half = dtype == torch.float16
        has_half = is_half or (dtype is not None and is_recurrent)
        self.scaler = torch.amp.GradScaler(device.type, init_scale=2.0**16 if is_half else 2.0**12, enabled=has_half)

    @classmethod
    def named(cls, name: str, device: torch.device, model: nn.Module) -> "Precision":
        """That of a configuration. A CPU computes in float32 whatever is asked: most are slower in less."""
        is_recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
        return cls(_DTYPES[name] if device.type == "cuda" else None, device, is_recurrent)

    def restore(self, scaler: Mapping[str, float]) -> None:
        """Scale on as a checkpoint's ``scaler`` did."""
        self.scaler.load_state_dict({name: int(value) if name in _COUNTS else value for name, value in scaler.items()})

    def autocast(self) -> AbstractContextManager[None]:
        """Compute in these numbers inside the block."""
        return torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype is not None)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``, scaled, to those of the parameters."""
        torch.autograd.backward(self.scaler.scale(loss))
