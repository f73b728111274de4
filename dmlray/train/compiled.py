"""torch.compile for a trial's model."""

import torch
from torch import nn

from dmlray.errors import TrainingError


def compile_forward(model: nn.Module) -> None:
    """Compile the model's forward pass at its first call, for batches and videos of any length.

    A process that trains one trial after another forgets the code of those before: each counts against the number of
    versions at which PyTorch gives up compiling.
    """
    torch.compiler.reset()
    model.compile(dynamic=True)


def compile_problem(error: RuntimeError) -> TrainingError | None:
    """What to tell the user about an error that compiling raised; None for any other error."""
    if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return None
    reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return TrainingError("bad_config", f"the model cannot be compiled here; leave `compile` out ({reason})")
