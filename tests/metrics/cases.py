"""Inputs for metric tests: dense truth in the forms that accumulators take."""

import numpy as np
import torch
from hypothesis import strategies as st


def padded(labels):
    """Dense labels (N, C) as class indices (N, L), padded with -1."""
    width = max(1, int(labels.sum(axis=1).max(initial=0)))
    table = np.full((len(labels), width), -1, dtype=np.int64)
    for row, line in zip(table, labels, strict=True):
        found = np.flatnonzero(line)
        row[: found.size] = found
    return torch.from_numpy(table)


def ragged(labels):
    """Dense labels (N, C) as (offsets, values)."""
    return np.append(0, labels.sum(axis=1).cumsum()), np.nonzero(labels)[1]


@st.composite
def drawn(draw, *, ties):
    """(scores (N, C) float32, labels (N, C) bool): with many ties, or with none at all."""
    videos, classes = draw(st.integers(1, 12)), draw(st.integers(1, 45))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    if ties:
        scores = random.integers(0, draw(st.integers(1, 6)), (videos, classes)) / 5
    else:
        scores = (random.permutation(videos * classes).reshape(videos, classes) + 1) / (videos * classes)
    labels = random.random((videos, classes)) < draw(st.sampled_from([0.0, 0.05, 0.3, 0.9]))
    return scores.astype(np.float32), labels
