"""Scales, bags, budgets, optimised weights, and what explains an ensemble."""

from dataclasses import replace

import numpy as np
import pytest

from dmlray.data.predictions import Predictions
from dmlray.data.ragged import Ragged
from dmlray.ensemble.bagging import select_bagged
from dmlray.ensemble.choice import EnsembleSettings, choose, put_on_scale
from dmlray.ensemble.combine import combine
from dmlray.ensemble.explain import disagreement, leave_one_out
from dmlray.ensemble.optimise import optimised_weights
from dmlray.ensemble.pairs import pair_blocks
from dmlray.ensemble.parts import gap_on
from dmlray.ensemble.scale import fit_temperature, scaled
from dmlray.ensemble.search import search_ensemble
from dmlray.ensemble.selection import Budget, blend_gap, select
from dmlray.errors import UsageError
from tests.ensemble.cases import candidates, stores

SIZES = {"videos": 300, "classes": 30, "members": 6, "keep": 25, "grid": 2**18}


def calibrated(seed, videos=3000, classes=40):
    """Scores that are the very probabilities by which the labels were drawn."""
    generator = np.random.default_rng(seed)
    scores = 1 / (1 + np.exp(-generator.normal(-2, 1.5, (videos, classes))))
    true = generator.random((videos, classes)) < scores
    labels = np.argsort(-scores, axis=1).astype(np.int32)
    truth = Ragged(np.concatenate([[0], true.sum(axis=1).cumsum()]), np.nonzero(true)[1].astype(np.int64))
    ids = np.array([f"{video}" for video in range(videos)], dtype=object)
    return Predictions(ids, labels, np.take_along_axis(scores, labels, 1).astype(np.float32), truth, classes)


@pytest.mark.parametrize("distortion", [0.5, 1.0, 2.0, 3.0])
def test_the_temperature_undoes_a_distortion(distortion):
    store = calibrated(1)
    rows = np.arange(len(store))
    distorted = scaled(store, 1 / distortion)  # logits multiplied
    assert fit_temperature(distorted, rows) == pytest.approx(distortion, rel=0.05)
    undone = scaled(distorted, distortion)
    assert np.allclose(undone.scores, store.scores, atol=1e-3)  # float32 near 1 is coarse
    assert gap_on(distorted, rows) == pytest.approx(gap_on(store, rows), abs=1e-6)


def test_no_true_pair_tells_no_temperature():
    store = calibrated(1, videos=5)
    empty = replace(store, truth=Ragged(np.zeros(6, dtype=np.int64), np.array([], dtype=np.int64)))
    assert fit_temperature(empty, np.arange(5)) == 1.0


def test_zero_and_one_keep_their_rank():
    store = stores(1)[0]
    store.scores[0, 0], store.scores[0, -1] = 1.0, 0.0
    for temperature in (0.2, 5.0):
        changed = scaled(store, temperature).scores
        assert changed[0, -1] == 0
        assert (np.diff(changed, axis=1) <= 0).all()
        assert changed.max() <= 1


def test_a_distorted_member_hurts_less_on_one_scale():
    """Two equally good members, one of which shouts: its scores drown the other's unless they are put on one scale."""
    sizes = {"videos": 2000, "classes": 30, "members": 2, "keep": 30, "grid": 2**18}
    members = candidates(3, **sizes)
    loud = replace(members[1], validation=scaled(members[1].validation, 0.2), test=scaled(members[1].test, 0.2))
    settings = EnsembleSettings(top=2, size=2, resamples=5, weights="uniform")
    figures = search_ensemble([members[0], loud], settings).report.figures
    assert figures["ensemble"].test > figures["scale_none"].test + 0.002


def test_weights_are_optimised_on_what_is_given():
    blocks = list(pair_blocks(stores(5, **SIZES), np.arange(300)))
    counts = select(blocks, top=4, size=12).counts
    shares = optimised_weights(blocks, counts)
    assert sum(shares) == pytest.approx(1)
    assert all(0 <= share <= 1 for share in shares)
    found = blend_gap(blocks, dict(zip(counts, shares, strict=True)))
    assert found >= blend_gap(blocks, counts)
    assert found > blend_gap(blocks, dict.fromkeys(counts, 1))
    assert optimised_weights(blocks, {2: 7}) == [1.0]


def test_blend_gap_is_that_of_the_combination():
    members = stores(5, **SIZES)
    blocks = list(pair_blocks(members, np.arange(300)))
    expected = gap_on(combine([members[1], members[4]], [0.75, 0.25]), np.arange(300))
    assert blend_gap(blocks, {1: 3, 4: 1}) == pytest.approx(expected, abs=1e-9)


def test_bags_repeat_and_respect_top():
    blocks = list(pair_blocks(stores(5, **SIZES), np.arange(300)))
    first = select_bagged(blocks, bags=8, seed=1, top=3, size=6)
    assert first == select_bagged(blocks, bags=8, seed=1, top=3, size=6)
    assert first != select_bagged(blocks, bags=8, seed=2, top=3, size=6)
    assert len(first.counts) <= 3
    assert first.kept == len(first.picks) == len(first.curve)
    assert first.curve[-1] == pytest.approx(blend_gap(blocks, first.counts))
    assert list(first.counts.values()) == sorted(first.counts.values(), reverse=True)


@pytest.mark.parametrize("bags", [0, 6])
def test_budgets_bind_together(bags):
    ordered = candidates(5, **SIZES)
    costs = (np.array([5.0, 1.0, 2.0, 1.0, 9.0, 1.0]), np.array([1.0, 1.0, 5.0, 1.0, 1.0, 1.0]))
    budgets = [Budget(costs[0], 4.0), Budget(costs[1], 2.0)]
    rows = np.arange(300)
    gaps = [gap_on(candidate.validation, rows) for candidate in ordered]
    ready = put_on_scale(ordered, rows, "temperature")
    chosen = choose(ready, gaps, EnsembleSettings(bags=bags), budgets)
    members = list(chosen.weights)
    assert len(members) == 2  # of 1, 3 and 5, of which two fit the second budget
    assert set(members) <= {1, 3, 5}
    with pytest.raises(UsageError, match="no member fits the budgets: raise --max-mb"):
        choose(ready, gaps, EnsembleSettings(bags=bags), [Budget(costs[0], 0.5)])


def test_leaving_one_out_is_measured():
    members = stores(5, **SIZES)[:3]
    rows = np.arange(0, 300, 2)
    worth = leave_one_out(members, [0.5, 0.3, 0.2], rows)
    whole = gap_on(combine(members, [0.5, 0.3, 0.2]), rows)
    without = gap_on(combine(members[1:], [0.6, 0.4]), rows)
    assert worth[0] == pytest.approx(whole - without)
    assert leave_one_out(members[:1], [1.0], rows) == [gap_on(members[0], rows)]


def test_disagreement_counts_what_is_not_shared():
    one, other = stores(5, **SIZES)[:2]
    rows = np.array([0, 3, 5])
    found = disagreement([one, other, one], rows, k=4)
    shared = np.mean([len(set(one.labels[row, :4]) & set(other.labels[row, :4])) / 4 for row in rows])
    assert found[0, 1] == found[1, 0] == pytest.approx(1 - shared)
    assert found[0, 2] == 0
    assert (np.diag(found) == 0).all()
