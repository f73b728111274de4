"""The k best classes of each video, the same ones on every device and for every batching."""

from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmlray.metrics.spans import in_spans

_CHUNK_VIDEOS = 256  # 4 MB of scores with 3,862 classes: with 64, threads wait for each other's many small calls
_BLOCK = 16  # classes a block: of 8 to 32 the fastest for the 20 best of 3,862
PLACE = 2**32 - 1
_CLASS = 2**16 - 1

Scores = NDArray[np.floating]
Labels = NDArray[np.int64]


@overload
def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]: ...
@overload
def top_k(scores: Scores, k: int) -> tuple[Labels, Scores]: ...
def top_k(scores: Tensor | Scores, k: int) -> tuple[Tensor, Tensor] | tuple[Labels, Scores]:
    """The ``min(k, C)`` best classes of each video and their scores, both (N, min(k, C)), best first.

    scores (N, C) is a tensor on any device, or an array; what comes back is of the same library, labels as int64 and
    scores in the type of the input (float16 and bfloat16 become float32). Equal scores go to the lowest class index,
    which `torch.topk` and `numpy.argpartition` leave open. Raises FloatingPointError where a score is NaN.
    """
    if not isinstance(scores, Tensor):
        return _of_array(scores, k)
    scores = scores.detach()
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    if scores.device.type != "cpu" or scores.dtype != torch.float32:
        return _by_torch(scores, min(k, scores.shape[1]))
    labels, values = _of_array(scores.numpy(), k)
    return torch.from_numpy(labels), torch.from_numpy(values)


def rank_keys(scores: NDArray[np.float32], places: NDArray[np.integer]) -> Labels:
    """Integers that sort as scores from high to low, equal ones by place; ``key & PLACE`` is the place.

    places have the shape of scores, or broadcast to it, and lie in [0, 2**32). They sort ten times faster than an
    argsort of floats.
    """
    keys = _codes(scores)
    keys <<= 32
    keys |= places
    return keys


def _codes(scores: NDArray[np.float32]) -> Labels:
    """Integers of 32 bits in the order of the scores from high to low."""
    bits = (scores + np.float32(0)).view(np.int32)  # + 0 makes -0.0 and 0.0 one number
    bits ^= (bits >> 31) & np.int32(2**31 - 1)  # integers in the order of the floats
    return (~bits).astype(np.int64)


def _of_array(scores: Scores, k: int) -> tuple[Labels, Scores]:
    found = in_spans(lambda span: _of_span(scores[span], k), len(scores))
    labels, values = (np.concatenate(column) for column in zip(*found, strict=True))
    return labels, values


def _of_span(scores: Scores, k: int) -> tuple[Labels, Scores]:
    k = min(k, scores.shape[1])
    if scores.dtype != np.float32:
        tensor = torch.from_numpy(
            scores if scores.flags.writeable else scores.copy()
        )  # torch warns of read-only memory
        labels, values = top_k(tensor, k)
        return labels.numpy(), values.numpy()
    chunks = range(0, max(1, len(scores)), _CHUNK_VIDEOS)
    found = [_of_chunk(np.ascontiguousarray(scores[start : start + _CHUNK_VIDEOS]), k) for start in chunks]
    return np.concatenate([labels for labels, _ in found]), np.concatenate([values for _, values in found])


def _of_chunk(scores: NDArray[np.float32], k: int) -> tuple[Labels, NDArray[np.float32]]:
    classes = scores.shape[1]
    labels = _by_blocks(scores, k) if 2 * k < classes // _BLOCK and classes <= _CLASS else None
    if labels is None:
        labels = _by_keys(scores, k)
    return labels, scores.ravel().take(labels + np.arange(0, scores.size, classes)[:, None])


def _by_keys(scores: NDArray[np.float32], k: int) -> Labels:
    """Rank all classes."""
    _check(scores)
    keys = rank_keys(scores, np.arange(scores.shape[1]))
    if k < scores.shape[1]:
        keys = np.partition(keys, k - 1, axis=1)[:, :k]
    return np.sort(keys, axis=1) & PLACE


def _by_blocks(scores: NDArray[np.float32], k: int) -> Labels | None:
    """Rank the classes that reach the k-th highest maximum of a block, of which there are k or a few more.

    None where equal scores make them many.
    """
    videos, classes = scores.shape
    blocks = classes // _BLOCK
    whole = blocks * _BLOCK
    maxima = scores[:, :whole].reshape(videos, _BLOCK, blocks).max(axis=1)  # class c is of block c % blocks
    _check(maxima)
    _check(scores[:, whole:])
    maxima.partition(blocks - k, axis=1)
    width = -(-classes // 8) * 8
    reached = np.empty((videos, width), dtype=np.bool_)
    reached[:, classes:] = False
    np.greater_equal(scores, maxima[:, blocks - k, None], out=reached[:, :classes])
    places = _true_places(reached)
    if places.size > 4 * k * videos:
        return None
    rows = places // width
    keys = (_codes(scores.ravel().take(places - rows * (width - classes))) << 16) + (rows << 48) + places - rows * width
    keys.sort()  # by video, then from high to low, then by class
    starts = np.searchsorted(places, np.arange(0, reached.size, width))
    labels: Labels = keys[starts[:, None] + np.arange(k)] & _CLASS
    return labels


def _true_places(flags: NDArray[np.bool_]) -> Labels:
    """`numpy.flatnonzero`, faster where few are true; the size of flags must be a multiple of 8."""
    words = flags.ravel().view(np.uint64)
    some = np.flatnonzero(words != 0)
    inside = np.flatnonzero(words.take(some).view(np.bool_))
    return (some.take(inside >> 3) << 3) + (inside & 7)


def _check(scores: Tensor | Scores) -> None:
    if 0 not in scores.shape and np.isnan(float(scores.max())):  # the maximum of anything and NaN is NaN
        raise FloatingPointError("a score is NaN, so the classes cannot be ranked")


def _by_torch(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """For any device and type."""
    values, labels = scores.topk(min(k + 1, scores.shape[1]), dim=1)  # one more shows a tie across the border
    _check(values[:, :1])  # topk puts NaN first
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
