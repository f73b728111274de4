"""From candidates to a report."""

import json
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from dmlray.data.predictions import load_predictions, save_predictions
from dmlray.ensemble.candidates import load_candidates
from dmlray.ensemble.choice import EnsembleSettings
from dmlray.ensemble.parts import gap_on, split_videos
from dmlray.ensemble.report import EnsembleReport, Gain, save_ensemble
from dmlray.ensemble.search import search_ensemble, summarise
from dmlray.errors import ConfigError, DataError, StorageError, UsageError
from tests.ensemble.cases import candidates, stores, with_validation

SETTINGS = EnsembleSettings(top=3, size=10, resamples=20)


def large(**options):
    return candidates(7, videos=300, classes=30, members=6, keep=25, grid=2**18, **options)


def test_figures_are_those_of_the_predictions():
    result = search_ensemble(large(), SETTINGS)
    report = result.report
    chosen, reported = split_videos(result.validation.ids, 0.5)
    assert report.videos == {"selection": len(chosen), "report": len(reported), "test": 300}
    assert report.figures["ensemble"].selection == gap_on(result.validation, chosen)
    assert report.figures["ensemble"].report == gap_on(result.validation, reported)
    assert report.figures["ensemble"].test == gap_on(result.test, np.arange(300))
    assert report.figures["all"].members == 6
    assert report.figures["uniform"].members == len(report.members) == len(report.disagreement)
    for figures in report.figures.values():
        assert figures.report_interval[0] <= figures.report <= figures.report_interval[1]
        assert figures.test_interval[0] <= figures.test <= figures.test_interval[1]
        assert figures.optimism == figures.selection - figures.report
    assert report.gain.value == report.figures["ensemble"].report - report.figures["best_single"].report
    assert report.gain.low <= report.gain.value <= report.gain.high
    optimism, scale = report.notes
    assert f"{abs(report.figures['ensemble'].optimism):.4f}" in optimism
    assert f"{report.figures['scale_none'].report - report.figures['ensemble'].report:+.4f}" in scale


def test_members_explain_the_ensemble():
    report = search_ensemble(large(), replace(SETTINGS, weights="count")).report
    kept = [pick for pick in report.curve if pick.kept]
    assert len(report.members) <= 3
    assert sum(member.weight for member in report.members) == pytest.approx(1)
    assert sum(member.picks for member in report.members) == len(kept)
    assert sum(member.gain for member in report.members) == pytest.approx(kept[-1].gap)
    assert report.figures["ensemble"].selection == pytest.approx(kept[-1].gap)  # `count` is what was selected
    assert report.members[0].trial == report.best_single
    assert report.members[0].gap == report.figures["best_single"].selection == report.curve[0].gap


def test_the_report_part_is_never_looked_at():
    """Other labels on the report part change its figures, and nothing else."""
    first = large()
    _, reported = split_videos(first[0].validation.ids, 0.5)
    truth = first[0].validation.truth
    values = truth.values.copy()
    for row in reported:
        values[truth.offsets[row] : truth.offsets[row + 1]] = (truth.list_of(row) + 7) % 30
    other = [with_validation(candidate, truth=truth._replace(values=values)) for candidate in first]
    mine, theirs = search_ensemble(first, SETTINGS).report, search_ensemble(other, SETTINGS).report
    assert (mine.curve, mine.best_single) == (theirs.curve, theirs.best_single)
    assert [member.model_dump(exclude={"leave_one_out"}) for member in mine.members] == [
        member.model_dump(exclude={"leave_one_out"}) for member in theirs.members
    ]
    assert mine.figures["ensemble"].selection == theirs.figures["ensemble"].selection
    assert mine.figures["ensemble"].report != theirs.figures["ensemble"].report


def test_the_order_of_candidates_is_irrelevant():
    shuffled = large()
    random.Random(3).shuffle(shuffled)
    assert search_ensemble(shuffled, SETTINGS).report == search_ensemble(large(), SETTINGS).report


def test_more_allowed_than_there_are():
    result = search_ensemble(large(test=False), replace(SETTINGS, top=9))
    assert result.test is None
    assert result.report.figures["ensemble"].test is None
    assert result.report.notes[:2] == (
        "9 members were allowed, there are 6 candidates: all could be picked.",
        "No figures on test: a member has no test predictions.",
    )


def test_without_a_report_part():
    report = search_ensemble(large(), replace(SETTINGS, report_split=0.0)).report
    assert report.gain is None
    assert report.figures["ensemble"].report is None
    assert "unknown" in report.summary


def test_equal_ids_are_kept_apart_by_place():
    doubled = [
        with_validation(one, ids=np.array([f"{place % 50:02d}" for place in range(300)], dtype=object))
        for one in large()
    ]
    report = search_ensemble(doubled, SETTINGS).report
    assert report.videos["selection"] % 6 == 0  # each of the 50 ids stands there 6 times


@pytest.mark.parametrize(
    ("value", "low", "high", "expected"),
    [
        (0.0123, 0.01, 0.015, "gains 0.0123 GAP .* [+]0.0100 to [+]0.0150: more than noise"),
        (0.001, -0.002, 0.004, "gains 0.0010 GAP .* -0.0020 to [+]0.0040: within noise"),
        (-0.01, -0.02, -0.005, "loses 0.0100 GAP against .*: more than noise"),
    ],
)
def test_the_summary_says_whether_it_is_noise(value, low, high, expected):
    gain = Gain(value=value, low=low, high=high, resamples=20, within_noise=low <= 0 <= high)
    assert re.search(expected, summarise(gain, "4", ["2", "4"], 1000))


def test_of_equals_the_one_with_a_model_is_a_member():
    candidates = large()
    copies = [replace(candidate, trial=-1 - candidate.trial, name="a copy") for candidate in candidates]
    report = search_ensemble([*copies, *candidates], SETTINGS).report
    assert min(member.trial for member in report.members) >= 0
    assert report.best_single >= 0


def test_a_saved_ensemble_reads_back(tmp_path: Path):
    result = search_ensemble(large(), SETTINGS)
    save_ensemble(tmp_path / "best", result.report, result.validation, result.test)
    save_ensemble(tmp_path / "best", result.report, result.validation, None)  # replaces all of the first
    text = (tmp_path / "best" / "members.json").read_text()
    assert EnsembleReport.model_validate_json(text) == result.report
    assert json.loads(text)["figures"].keys() == {
        "ensemble", "best_single", "paper", "top", "uniform", "all", "scale_none",
    }  # fmt: skip
    curve = parquet.read_table(tmp_path / "best" / "curve.parquet").to_pylist()
    assert [row["gap"] for row in curve] == [pick.gap for pick in result.report.curve]
    stored = load_predictions(tmp_path / "best" / "predictions.arrow")
    assert stored.scores.tolist() == result.validation.scores.tolist()
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == [
        "curve.parquet",
        "members.json",
        "predictions.arrow",
    ]


def test_candidates_are_read_from_trial_folders(tmp_path: Path):
    first, second = stores(1, members=2)
    save_predictions(tmp_path / "0" / "predictions.arrow", first)
    save_predictions(tmp_path / "1" / "predictions.arrow", second)
    save_predictions(tmp_path / "1" / "test_predictions.arrow", second)
    read = load_candidates([(0, "a", tmp_path / "0"), (1, "b", tmp_path / "1")])
    assert [candidate.test is None for candidate in read] == [True, False]
    assert read[1].validation.labels.tolist() == second.labels.tolist()
    damaged = tmp_path / "1" / "predictions.arrow"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    with pytest.raises(StorageError, match=re.escape(str(damaged))):
        load_candidates([(1, "b", tmp_path / "1")])


def spoiled_scores(store, value):
    scores = store.scores.copy()
    scores[2, 1] = value
    return {"scores": scores}


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda s: {"classes": 31}, "has 31 classes, trial 0 has 30"),
        (lambda s: {"ids": np.roll(s.ids, 1)}, "holds other videos than trial 0: 'v299' at place 0, not 'v000'"),
        (lambda s: {"truth": s.truth._replace(values=(s.truth.values + 1) % 30)}, "measured against other labels"),
        (lambda s: spoiled_scores(s, np.nan), "has scores that are not in 0 to 1"),
        (lambda s: spoiled_scores(s, -0.5), "has scores that are not in 0 to 1"),
    ],
)
def test_members_that_do_not_fit_are_named(spoil, problem):
    spoiled = large()
    spoiled[4] = with_validation(spoiled[4], **spoil(spoiled[4].validation))
    with pytest.raises(DataError, match=f"^trials/4/predictions.arrow: member trial 4 .model 4. .*{problem}"):
        search_ensemble(spoiled, SETTINGS)


def test_test_predictions_must_fit_too():
    spoiled = large()
    spoiled[1] = replace(spoiled[1], test=stores(7, videos=10)[0])
    with pytest.raises(DataError, match=r"^trials/1/test_predictions.arrow: member trial 1 "):
        search_ensemble(spoiled, SETTINGS)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"top": 0}, UsageError, "top must be at least 1, got 0"),
        ({"size": 0}, UsageError, "size must be at least 1, got 0"),
        ({"report_split": 1.0}, UsageError, "report split must be at least 0 and below 1, got 1.0"),
        ({"weights": "best"}, ConfigError, "weights must be one of"),
    ],
)
def test_settings_out_of_range(change, error, message):
    with pytest.raises(error, match=message):
        search_ensemble(large(), replace(SETTINGS, **change))


def test_nothing_to_select_from():
    with pytest.raises(UsageError, match="at least one finished trial, there is none"):
        search_ensemble([], SETTINGS)
    tiny = candidates(1, videos=1)
    with pytest.raises(DataError, match="none of its 1 videos falls to the selection"):
        search_ensemble(tiny, replace(SETTINGS, report_split=0.999999))
