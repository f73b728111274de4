"""Evaluation against measures of the dense matrix, and the order of predictions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from dmlray.metrics.gap import global_average_precision
from dmlray.train.evaluate import evaluate
from dmlray.train.loop import Training
from dmlray.train.loss import cross_entropy
from tests.train.trials import CPU

CLASSES = 7


@pytest.mark.parametrize("shuffle", [False, True])
def test_equals_one_pass_over_everything(start: Callable[[], Training], batches: Any, shuffle: bool) -> None:
    model = start().model
    batches.shuffle = shuffle
    result = evaluate(model, batches, CLASSES, CPU)
    with torch.inference_mode():
        frames = torch.from_numpy(batches.features)
        logits = model({"visual": frames}, torch.ones(frames.shape[:2], dtype=torch.bool)).logits
    scores = logits.sigmoid().numpy()
    dense = np.zeros((40, CLASSES), dtype=bool)
    for video, labels in enumerate(batches.labels):
        dense[video, labels[labels >= 0]] = True
    assert result.metrics["gap"] == pytest.approx(global_average_precision(scores, dense), abs=1e-6)
    entropy = float(cross_entropy(logits, torch.from_numpy(batches.labels)))
    assert result.metrics["loss"] == pytest.approx(entropy + 0.01 * float(logits.square().mean()), rel=1e-5)
    found = result.predictions
    assert list(found.ids) == [f"v{video}" for video in range(40)]
    order = np.argsort(-scores, axis=1, kind="stable")
    np.testing.assert_array_equal(found.labels, order)
    np.testing.assert_allclose(found.scores, np.take_along_axis(scores, order, axis=1), rtol=1e-5)
    for video in (0, 1, 39):
        assert set(found.truth.list_of(video)) == set(np.flatnonzero(dense[video]))


def test_dropout_is_off(start: Callable[[], Training], batches: Any) -> None:
    model = start().model.train()
    first, second = (evaluate(model, batches, CLASSES, CPU) for _ in range(2))
    assert first.metrics == second.metrics


def test_output_that_is_not_finite(start: Callable[[], Training], batches: Any) -> None:
    batches.features[13] = np.nan
    with pytest.raises(FloatingPointError, match="the loss is not finite"):
        evaluate(start().model, batches, CLASSES, CPU)
