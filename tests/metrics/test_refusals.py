"""What the metrics refuse, and what they hand back at the edges."""

import numpy as np
import pytest
import torch

from dmlray.metrics.average_precision import mean_average_precision
from dmlray.metrics.evaluation import Evaluation
from dmlray.metrics.gap import GapAccumulator, global_average_precision
from dmlray.metrics.top import top_k
from dmlray.metrics.truth import Truth


@pytest.mark.parametrize("classes", [3, 100, 110])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nan_scores_are_refused(classes, dtype):
    scores = torch.zeros(2, classes, dtype=dtype)
    scores[1, classes - 1] = torch.nan
    with pytest.raises(FloatingPointError, match="NaN"):
        top_k(scores, 2)


@pytest.mark.parametrize("label", [-2, 3])
def test_labels_outside_the_classes_are_refused(label):
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 3\)"):
        Evaluation(classes=3).add(torch.rand(1, 3), torch.tensor([[label, -1]]), np.array([0]))


def test_a_video_added_twice_is_refused():
    accumulator = GapAccumulator()
    accumulator.add(torch.rand(3, 4), torch.zeros(3, 1, dtype=torch.int64), np.array([5, 7, 5]))
    with pytest.raises(ValueError, match="video 5 was added twice"):
        accumulator.value()


def test_nothing_added_is_refused():
    with pytest.raises(ValueError, match="no video"):
        Evaluation(classes=3).metrics()


def test_without_any_true_label_gap_and_map_are_0():
    scores, labels = np.random.default_rng(0).random((4, 6)), np.zeros((4, 6), dtype=bool)
    assert global_average_precision(scores, labels) == 0.0
    assert mean_average_precision(scores, labels) == 0.0


def test_a_label_given_twice_counts_once():
    truth = Truth.from_padded(np.array([[2, 2, 0], [1, -1, -1]]), classes=3)
    assert truth.per_video().tolist() == [2, 1]
    assert truth.per_class().tolist() == [1, 1, 1]


@pytest.mark.parametrize("classes", [30, 200])
def test_no_video_has_no_best_class(classes):
    labels, values = top_k(np.empty((0, classes), dtype=np.float32), 5)
    assert labels.shape == values.shape == (0, 5)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_nan_is_refused_wherever_it_stands(kind):
    for place in (0, 1_699, 3_861):
        scores = np.random.default_rng(0).random((2, 3_862), dtype=np.float32)
        scores[1, place] = np.nan
        with pytest.raises(FloatingPointError, match="NaN"):
            top_k(kind(scores), 20)


def test_read_only_arrays_can_be_ranked():
    scores = np.random.default_rng(0).random((3, 30), dtype=np.float32)
    scores.flags.writeable = False
    assert np.array_equal(top_k(scores, 1)[0][:, 0], scores.argmax(axis=1))


def test_add_hands_back_what_a_prediction_store_keeps():
    probabilities = torch.rand(5, 60, generator=torch.Generator().manual_seed(0))
    labels, scores = Evaluation(classes=60, keep=50).add(
        probabilities, torch.zeros(5, 1, dtype=torch.int64), np.arange(5)
    )
    expected = probabilities.sort(descending=True)
    assert np.array_equal(labels, expected.indices[:, :50])
    assert np.array_equal(scores, expected.values[:, :50])


def test_memory_does_not_grow_with_the_number_of_classes():
    evaluation = Evaluation(classes=4000, keep=50)
    evaluation.add(torch.rand(64, 4000), torch.arange(64 * 30).view(64, 30), np.arange(64))
    (part,) = evaluation._rows._parts
    held = sum((column if column.base is None else column.base).nbytes for column in part.values())
    assert held <= 64 * 200
