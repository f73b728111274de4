"""Laws that every metric keeps, on drawn cases."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dmlray.metrics.accuracy import hit_at_one, precision_at_equal_recall_rate
from dmlray.metrics.average_precision import mean_average_precision
from dmlray.metrics.evaluation import Evaluation
from dmlray.metrics.gap import GapAccumulator, descending_order, gap_from_top, global_average_precision
from dmlray.metrics.top import top_k
from dmlray.train.threads import cpu_threads
from tests.metrics import plain
from tests.metrics.cases import drawn, padded, ragged

LAW = settings(deadline=None, max_examples=50)

PAIRS = {
    global_average_precision: plain.gap,
    mean_average_precision: plain.mean_average_precision,
    hit_at_one: plain.hit_at_one,
    precision_at_equal_recall_rate: plain.perr,
}
METRICS = pytest.mark.parametrize("metric", PAIRS, ids=lambda metric: metric.__name__)


def evaluate(scores, labels, parts):
    """One Evaluation per part of the video indices, unmerged."""
    evaluations = []
    for part in parts:
        evaluation = Evaluation(classes=labels.shape[1])
        if part.size:
            evaluation.add(torch.from_numpy(scores[part]), padded(labels[part]), part, loss=float(scores[part].mean()))
        evaluations.append(evaluation)
    return evaluations


@METRICS
@LAW
@given(case=st.booleans().flatmap(lambda ties: drawn(ties=ties)))
def test_equals_the_plain_reference(metric, case):
    assert metric(*case) == pytest.approx(PAIRS[metric](*case), abs=1e-12)


@METRICS
@LAW
@given(case=drawn(ties=False), seed=st.integers(0, 99))
def test_order_of_videos_is_irrelevant(metric, case, seed):
    scores, labels = case
    order = np.random.default_rng(seed).permutation(len(scores))
    assert metric(scores[order], labels[order]) == pytest.approx(metric(scores, labels), abs=1e-12)


@METRICS
@LAW
@given(case=drawn(ties=False))
def test_a_monotone_transformation_of_scores_changes_nothing(metric, case):
    scores, labels = case
    assert metric(scores.astype(np.float64) ** 3 / 7, labels) == pytest.approx(metric(scores, labels), abs=1e-12)


@LAW
@given(case=drawn(ties=True), order=st.randoms(use_true_random=False), cuts=st.lists(st.integers(0, 12), max_size=3))
def test_merged_is_whole_however_videos_are_split(case, order, cuts):
    scores, labels = case
    indices = np.arange(len(scores))
    (whole,) = evaluate(scores, labels, [indices])
    shuffled = np.array(order.sample(list(indices), len(indices)))
    merged, *others = evaluate(scores, labels, np.split(shuffled, sorted(cuts)))
    for other in others:
        merged.merge(pickle.loads(pickle.dumps(other)))  # as it crosses from worker to worker
    assert len(merged) == len(scores)
    left, right = merged.metrics(), whole.metrics()
    assert left.pop("loss") == pytest.approx(right.pop("loss"), rel=1e-5)
    assert left == right  # to the last bit
    assert right["gap"] == pytest.approx(plain.gap(scores, labels), abs=1e-12)


@LAW
@given(case=drawn(ties=True), cut=st.integers(0, 12), k=st.integers(1, 25))
def test_accumulated_gap_is_the_gap_in_one_pass(case, cut, k):
    scores, labels = case
    parts = np.split(np.arange(len(scores)), [cut])
    accumulators = []
    for part in reversed(parts):
        accumulator = GapAccumulator(k)
        if part.size:
            accumulator.add(torch.from_numpy(scores[part]), padded(labels[part]), part)
        accumulators.append(accumulator)
    accumulators[0].merge(accumulators[1])
    assert accumulators[0].value() == global_average_precision(scores, labels, k)


@LAW
@given(case=drawn(ties=True), stored=st.integers(20, 50))
def test_gap_from_stored_predictions_is_exact(case, stored):
    scores, labels = case
    assert gap_from_top(*top_k(scores, stored), *ragged(labels)) == global_average_precision(scores, labels)


@LAW
@given(
    case=drawn(ties=True), k=st.integers(1, 50), dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16])
)
def test_top_k_gives_ties_to_the_lowest_class(case, k, dtype):
    scores = torch.from_numpy(case[0]).to(dtype)
    labels, values = top_k(scores, k)
    assert labels.tolist() == [plain.best(row.tolist(), k) for row in scores]
    assert values.equal(scores.gather(1, labels).to(values.dtype))


@LAW
@given(
    classes=st.integers(90, 200),
    values=st.integers(1, 400),
    k=st.integers(1, 3),
    seed=st.integers(0, 99),
    videos=st.sampled_from([1, 3, 600]),
)
def test_top_k_of_many_classes_is_that_of_each_score_ranked(classes, values, k, seed, videos):
    scores = np.random.default_rng(seed).integers(-values, values, (videos, classes)).astype(np.float32) / values
    labels, found = top_k(scores, k)
    assert labels.tolist() == np.argsort(-scores, axis=1, kind="stable")[:, :k].tolist()
    assert np.array_equal(found, np.take_along_axis(scores, labels, axis=1))


@pytest.mark.thorough
@pytest.mark.parametrize("threads", [1, 3])
def test_gap_of_many_videos_depends_on_no_thread(threads):
    random = np.random.default_rng(0)
    scores = random.integers(0, 5_000, (1_300, 700)).astype(np.float32) / 5_000  # ties within videos and among them
    labels = random.random((1_300, 700)) < 0.01
    with cpu_threads(threads):
        assert global_average_precision(scores, labels) == pytest.approx(plain.gap(scores, labels), abs=1e-12)
        assert global_average_precision(scores[:, ::-1], labels[:, ::-1]) == pytest.approx(
            plain.gap(scores[:, ::-1], labels[:, ::-1]), abs=1e-12
        )


@LAW
@given(
    scores=st.lists(st.floats(width=32, allow_nan=False) | st.sampled_from([0.0, -0.0, 0.5]), max_size=30).map(
        lambda values: np.array(values, dtype=np.float32)
    )
)
def test_descending_order_is_stable_for_any_float(scores):
    assert descending_order(scores).tolist() == sorted(range(len(scores)), key=lambda i: -scores[i])
    assert descending_order(scores).tolist() == descending_order(scores.astype(np.float64)).tolist()
