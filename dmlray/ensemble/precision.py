"""Members' parameters in fewer bits: half-precision floats, or matrices of 8-bit integers with a scale for each row.

Whole numbers by row, symmetric about zero: Krishnamoorthi (2018, arXiv:1806.08342, section 3.1.2, "per-channel").
Only what is stored shrinks: `restored` parameters are float32 again, so that every device computes as before.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Precision = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8")
_ROUNDED, _SCALE = "rounded/", "scale/"  # no name of a parameter has a slash
_STEPS = 127


def compressed(parameters: Mapping[str, Tensor], precision: Precision) -> dict[str, Tensor]:
    """The tensors to store, whose bytes `stored_bytes` counts.

    ``float16`` rounds what it can hold, to 11 significant bits. ``int8`` gives each row (first axis) of a matrix the
    step max|row| / 127, so that no value moves by more than half of that; vectors stay as they are.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in parameters.items():
        kind = _kind(tensor, precision)
        if kind == "int8":
            stored[f"{_ROUNDED}{name}"], stored[f"{_SCALE}{name}"] = _rounded(tensor)
        else:
            stored[name] = tensor.half() if kind == "float16" else tensor
    return stored


def restored(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The float32 parameters in what `compressed` made. Raises ValueError where a matrix lacks its scales."""
    parameters: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name.startswith(_ROUNDED):
            own = name.removeprefix(_ROUNDED)
            scale = stored.get(f"{_SCALE}{own}")
            if scale is None or tensor.ndim < 2 or scale.shape != tensor.shape[:1]:
                raise ValueError(f"the matrix {own} has no scale for each of its rows")
            parameters[own] = tensor.float() * _by_row(scale, tensor)
        elif not name.startswith(_SCALE):
            parameters[name] = tensor.float() if tensor.dtype == torch.float16 else tensor
    return parameters


def stored_bytes(parameters: Mapping[str, Tensor], precision: Precision) -> int:
    """Bytes of the tensors that `compressed` makes, without making them."""
    return sum(_bytes(tensor, _kind(tensor, precision)) for tensor in parameters.values())


def _kind(tensor: Tensor, precision: Precision) -> Precision:
    """How a tensor is stored; what is no float, no matrix, or too large for a half stays as it is."""
    if not tensor.is_floating_point() or not tensor.numel():
        return "float32"
    if precision == "int8":
        return "int8" if tensor.ndim >= 2 else "float32"
    if precision == "float16" and float(tensor.detach().abs().max()) <= torch.finfo(torch.float16).max:
        return "float16"
    return "float32"


def _bytes(tensor: Tensor, kind: Precision) -> int:
    if kind == "int8":
        return tensor.numel() + 4 * len(tensor)
    return tensor.numel() * (2 if kind == "float16" else tensor.element_size())


def _rounded(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers of -127 to 127 in the shape of ``matrix`` (R, ...), and a scale for each row (R,)."""
    largest = matrix.float().abs().flatten(start_dim=1).amax(dim=1)
    scale = torch.where(largest > 0, largest / _STEPS, torch.ones_like(largest))  # a row of zeros stays one
    steps = (matrix.float() / _by_row(scale, matrix)).round().clamp(-_STEPS, _STEPS)
    return steps.to(torch.int8), scale


def _by_row(scale: Tensor, matrix: Tensor) -> Tensor:
    return scale.reshape(-1, *[1] * (matrix.ndim - 1))
