"""The loss against PyTorch's own, from dense targets."""

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from dmlray.train.loss import cross_entropy

LABELS = st.lists(st.lists(st.integers(0, 5), max_size=4), min_size=1, max_size=5)


def padded(rows: list[list[int]]) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [-1] * (width - len(row)) for row in rows], dtype=torch.int64).reshape(len(rows), width)


@given(rows=LABELS, seed=st.integers(0, 99), scale=st.sampled_from([1.0, 30.0]))
def test_equals_dense_cross_entropy(rows: list[list[int]], seed: int, scale: float) -> None:
    logits = scale * torch.randn(len(rows), 6, generator=torch.Generator().manual_seed(seed))
    logits.requires_grad_()
    targets = torch.zeros(len(rows), 6)
    for video, row in enumerate(rows):
        targets[video, row] = 1.0  # a label given twice counts once
    expected = F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1).mean()
    found = cross_entropy(logits, padded(rows))
    assert_close(found, expected, rtol=1e-5, atol=1e-4)
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in (found, expected)]
    assert_close(*gradients, rtol=1e-5, atol=1e-6)


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits = torch.zeros(2, 4000, dtype=torch.bfloat16)
    assert_close(cross_entropy(logits, padded([[1], [2]])), torch.tensor(4000 * 0.6931472))
