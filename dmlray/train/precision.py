"""In which numbers a model computes while it trains; its parameters and the loss are float32 always."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor

_DTYPES = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Precision:
    """Autocast to ``dtype`` (None: float32 throughout). For float16, whose gradients vanish below 6e-8, losses are
    scaled up by a factor that grows until gradients overflow: Micikevicius et al. (2018, arXiv:1710.03740)."""

    def __init__(self, dtype: torch.dtype | None, device: torch.device) -> None:
        self._dtype, self._device = dtype, device
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)

    @classmethod
    def named(cls, name: str, device: torch.device) -> "Precision":
        """That of a configuration. A CPU computes in float32 whatever is asked: most are slower in less."""
        return cls(_DTYPES[name] if device.type == "cuda" else None, device)

    def autocast(self) -> AbstractContextManager[None]:
        """Compute in these numbers inside the block."""
        return torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype is not None)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``, scaled, to those of the parameters."""
        torch.autograd.backward(self.scaler.scale(loss))
