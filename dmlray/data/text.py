"""Strings of different lengths that lie side by side."""

import numpy as np
from numpy.typing import NDArray


def texts(data: bytes, lengths: NDArray[np.int64]) -> list[str]:
    """``data`` cut into strings of so many bytes each (N,). Raises UnicodeDecodeError where one is not UTF-8."""
    ends = np.cumsum(lengths).tolist()
    starts = [0, *ends[:-1]]
    if data.isascii():
        text = data.decode("ascii")
        return [text[start:end] for start, end in zip(starts, ends, strict=bool(ends))]
    return [data[start:end].decode() for start, end in zip(starts, ends, strict=bool(ends))]
