"""The official google/youtube-8m evaluation's values, to 1e-9; `golden.json` says how the inputs are drawn."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dmlray.metrics.accuracy import hit_at_one, precision_at_equal_recall_rate
from dmlray.metrics.average_precision import mean_average_precision
from dmlray.metrics.evaluation import Evaluation
from dmlray.metrics.gap import GapAccumulator, gap_from_top, global_average_precision
from dmlray.metrics.top import top_k
from tests.metrics.cases import padded, ragged

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())


@pytest.fixture(params=GOLDEN, ids=lambda case: case["name"])
def golden(request):
    """(case, scores (N, C) float64, labels (N, C) bool)."""
    case = request.param
    random = np.random.default_rng(case["seed"])
    labels = random.random((case["videos"], case["classes"])) < case["positive_rate"]
    if case["unlabelled_share"] > 0:
        labels[random.random(case["videos"]) < case["unlabelled_share"]] = False
    noise, signal = random.random(labels.shape), case["signal"]
    return case, (1 - signal) * noise + signal * labels * random.random(labels.shape), labels


def expected(case):
    return {"gap": case["gap"], "map": case["map"], "hit1": case["hit_at_1"], "perr": case["perr"]}


def test_functions_give_the_official_values(golden):
    case, scores, labels = golden
    values = {
        "gap": global_average_precision(scores, labels),
        "map": mean_average_precision(scores, labels),
        "hit1": hit_at_one(scores, labels),
        "perr": precision_at_equal_recall_rate(scores, labels),
    }
    assert values == pytest.approx(expected(case), abs=1e-9)
    assert labels.any(axis=0).sum() == case["classes_with_positives"]


def test_the_streaming_evaluation_gives_the_official_values(golden):
    case, scores, labels = golden
    evaluation, indices = Evaluation(classes=case["classes"]), np.arange(len(scores))
    for part in np.array_split(indices, 7):
        evaluation.add(torch.from_numpy(scores[part]), padded(labels[part]), part)
    assert evaluation.metrics() == pytest.approx(expected(case), abs=1e-9)


def test_gap_of_accumulated_and_of_stored_predictions_is_official(golden):
    case, scores, labels = golden
    accumulator = GapAccumulator()
    accumulator.add(torch.from_numpy(scores), padded(labels), np.arange(len(scores)))
    assert accumulator.value() == pytest.approx(case["gap"], abs=1e-9)
    assert gap_from_top(*top_k(scores, 50), *ragged(labels)) == pytest.approx(case["gap"], abs=1e-9)


@pytest.mark.real_data
def test_the_copied_golden_file_is_the_shared_one():
    shared = Path(__file__).parents[3] / "shared/data/golden/metrics.json"
    if not shared.exists():
        pytest.skip(f"no {shared}")
    assert json.loads(shared.read_text()) == GOLDEN
