"""All that is random in an epoch, from (seed, epoch) and the video's index alone.

Neither the batch that a video falls into nor the number of workers changes its draws, so an epoch can be resumed at any
video by any number of workers.
"""

import numpy as np
from numpy.typing import NDArray

from dmlray.seeding import derive_seed

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = 3  # of both halves; four give no better mix


def shuffled(positions: NDArray[np.int64], videos: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The videos at ``positions`` (B,) of the epoch's order, a permutation of ``range(videos)``.

    Computed for these positions alone, where a list of five million videos would take 0.1 to 0.3 s before the first
    batch: a Feistel network permutes a power of two (Luby and Rackoff, 1988), and what falls beyond ``videos`` is
    permuted again until it does not (Black and Rogaway, 2002, cycle walking).
    """
    bits = max(2, (videos - 1).bit_length())
    keys = np.random.default_rng(derive_seed(seed, "order", epoch)).integers(0, 2**64, (_ROUNDS, 2), np.uint64)
    values = _permute(positions.astype(np.uint64), bits, keys)
    while (beyond := np.flatnonzero(values >= videos)).size:
        values[beyond] = _permute(values[beyond], bits, keys)
    return values.astype(np.int64)


def _permute(values: NDArray[np.uint64], bits: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A permutation of ``range(2**bits)``: each half is changed by what the other hashes to, so each step reverses."""
    wide, narrow = np.uint64(bits - bits // 2), np.uint64(bits // 2)
    high, low = values >> narrow, values & ((np.uint64(1) << narrow) - np.uint64(1))
    for one, other in keys:
        high ^= _hash(low, one) >> (np.uint64(64) - wide)
        low ^= _hash(high, other) >> (np.uint64(64) - narrow)
    return high << narrow | low


def _hash(values: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
    product = (values + key) * _GOLDEN
    return (product ^ (product >> np.uint64(32))) * (key | np.uint64(1))


def bucketed(lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int, window: int) -> NDArray[np.int64]:
    """An order of ``lengths`` (N,), frames of the videos of one window, that makes batches of like lengths.

    Videos stand by length, ties as they came, and the full batches among them in random order, so that training does
    not go from short to long; a batch that is not full stays last. ``window`` is the window's number.
    """
    by_length = np.argsort(lengths, kind="stable")
    full = len(lengths) // batch_size
    batches = np.random.default_rng(derive_seed(seed, "buckets", epoch, window)).permutation(full)
    whole = by_length[: full * batch_size].reshape(full, batch_size)[batches].reshape(-1)
    return np.concatenate([whole, by_length[full * batch_size :]])


def video_draws(indices: NDArray[np.int64], seed: int, epoch: int, columns: int) -> NDArray[np.float64]:
    """Uniform draws in [0, 1), (B, columns): row b depends on ``indices[b]``, not on the other videos.

    SplitMix64 (Steele, Lea and Flood, 2014) as a counter-based generator: a NumPy generator per video would cost as
    much as copying its frames.
    """
    key = np.uint64(derive_seed(seed, "draws", epoch))
    rows = _mix(_mix(indices.astype(np.uint64) * _GOLDEN + key))  # (B,)
    bits = _mix(rows[:, None] + np.arange(1, columns + 1, dtype=np.uint64) * _GOLDEN)  # (B, columns)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
