"""The k best classes of each video, the same ones on every device and for every batching."""

from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_CHUNK_VIDEOS = 1024  # bounds the memory of a matrix that is only mapped


@overload
def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]: ...
@overload
def top_k(scores: NDArray[np.floating], k: int) -> tuple[NDArray[np.int64], NDArray[np.floating]]: ...
def top_k(
    scores: Tensor | NDArray[np.floating], k: int
) -> tuple[Tensor, Tensor] | tuple[NDArray[np.int64], NDArray[np.floating]]:
    """The ``min(k, C)`` best classes of each video and their scores, both (N, min(k, C)), best first.

    scores (N, C) is a tensor on any device, or an array; what comes back is of the same library, labels as int64 and
    scores in the type of the input (float16 and bfloat16 become float32). Equal scores go to the lowest class index,
    which `torch.topk` and `numpy.argpartition` leave open. Raises FloatingPointError where a score is NaN.
    """
    if isinstance(scores, Tensor):
        return _top_k(scores.detach(), k)
    parts = [_top_k(_as_tensor(scores[i : i + _CHUNK_VIDEOS]), k) for i in range(0, max(1, len(scores)), _CHUNK_VIDEOS)]
    labels, values = (torch.cat(column).numpy() for column in zip(*parts, strict=True))
    return labels, values


def _as_tensor(scores: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(scores if scores.flags.writeable else scores.copy())  # torch warns of read-only memory


def _top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    k = min(k, scores.shape[1])
    values, labels = scores.topk(min(k + 1, scores.shape[1]), dim=1)  # one more shows a tie across the border
    if values[:, :1].isnan().any():  # topk puts NaN first
        raise FloatingPointError("a score is NaN, so the classes cannot be ranked")
    tied = (values[:, 1:] == values[:, :-1]).any(dim=1)
    values, labels = values[:, :k], labels[:, :k]
    if tied.any():
        labels[tied] = _lowest_index_first(scores[tied], values[tied, -1:], k)
        values = scores.gather(1, labels)
    return labels, values


def _lowest_index_first(scores: Tensor, least: Tensor, k: int) -> Tensor:
    """Labels (N, k) of the best classes where scores tie; ``least`` (N, 1) is the k-th best score."""
    above, equal = scores > least, scores == least
    room = k - above.sum(dim=1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(dim=1) <= room))  # exactly k in every row
    labels = chosen.nonzero()[:, 1].view(-1, k)  # ascending
    order = scores.gather(1, labels).sort(dim=1, descending=True, stable=True).indices
    return labels.gather(1, order)
