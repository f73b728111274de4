"""8-bit features to floats and back: ``Dequantize`` of google/youtube-8m's utils.py.

A step is range / 255, and the whole scale stands half a step of 1/256 too high: 0 becomes minimum + range / 512.
"""

import numpy as np
from numpy.typing import NDArray


def scale_and_bias(minimum: float, maximum: float) -> tuple[float, float]:
    """The two numbers of the official formula: value = code * scale + bias."""
    span = maximum - minimum
    return span / 255.0, span / 512.0 + minimum


def dequantize(codes: NDArray[np.uint8], minimum: float = -2.0, maximum: float = 2.0) -> NDArray[np.float32]:
    """uint8 codes of any shape to float32 of that shape."""
    scale, bias = scale_and_bias(minimum, maximum)
    return codes * np.float32(scale) + np.float32(bias)


def quantize(values: NDArray[np.float32], minimum: float = -2.0, maximum: float = 2.0) -> NDArray[np.uint8]:
    """The code whose dequantised value is nearest; values beyond the range take its ends."""
    scale, bias = scale_and_bias(minimum, maximum)
    codes: NDArray[np.float32] = np.rint((values - np.float32(bias)) / np.float32(scale))
    return codes.clip(0, 255).astype(np.uint8)
