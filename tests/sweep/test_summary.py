"""Sums, rankings and MLflow projections of a study's records: pure functions."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dmlray.config import ChainedHead, RecurrentEncoder, ResidualHidden, SharedFusion, TrialConfig
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.runs import describe, flatten, sweep_run, trial_run
from dmlray.sweep.settings import SweepConfig
from dmlray.sweep.summary import duration_s, ranking, summarize

START = datetime(2026, 11, 22, tzinfo=UTC)
CONFIG = TrialConfig(
    encoder=RecurrentEncoder(kind="gru", layers=2, hidden=512, bidirectional=True), fusion=SharedFusion(dim=256)
).model_dump(mode="json")
SWEEP = SweepConfig(name="s", data=Path("/data"), fingerprints={}, trials=4, tracking_uri="")


def trial(number: int, state: TrialState, *gaps: float, minutes: float = 1, **more: Any) -> TrialRecord:
    return TrialRecord(
        number=number,
        state=state,
        params={},
        config=CONFIG,
        curve=tuple((epoch, {"val_gap": gap, "epoch_s": 2.0}) for epoch, gap in enumerate(gaps, start=1)),
        value=max(gaps) if gaps and state in (TrialState.complete, TrialState.pruned) else None,
        started=START,
        finished=START + timedelta(minutes=minutes) if state.is_finished else None,
        **more,
    )


TRIALS = [
    trial(0, TrialState.complete, 0.3, 0.5, 0.4, metrics={"val_gap": 0.5, "test_gap": 0.45}),
    trial(1, TrialState.failed, reason="nan", message="the loss is nan"),
    trial(2, TrialState.pruned, 0.2, minutes=3),
    trial(3, TrialState.failed, reason="bad_config", message="no"),
    trial(4, TrialState.running, 0.6),
]


def test_a_sum_counts_states_and_leaves_refused_configurations_out() -> None:
    found = summarize(TRIALS, wanted=4)
    assert (found.complete, found.failed, found.pruned, found.running, found.is_over) == (1, 1, 1, 1, False)
    assert found.best is not None
    assert found.best.number == 4, "a running trial can be the best"
    assert summarize(TRIALS[:3], wanted=3).is_over


def test_time_left_is_the_median_trial_times_what_is_left_over_those_that_run() -> None:
    assert summarize(TRIALS, wanted=11).left_s == 60 * (11 - 3)
    assert summarize([*TRIALS, trial(5, TrialState.running)], wanted=11).left_s == 60 * (11 - 3) / 2
    assert summarize([TRIALS[-1]], wanted=4).left_s is None


def test_ranking_ties_go_to_the_lowest_number() -> None:
    tied = [trial(2, TrialState.complete, 0.5), trial(1, TrialState.complete, 0.5), trial(0, TrialState.complete, 0.1)]
    assert [found.number for found in ranking([*tied, TRIALS[1]])] == [1, 2, 0]


def test_duration_is_training_time_not_waiting_time() -> None:
    assert duration_s(TRIALS[0]) == 6.0
    assert duration_s(TRIALS[1]) is None


def test_a_trial_is_described_in_words_of_the_field() -> None:
    assert describe(CONFIG) == "bigru2x512 mean shared256"
    assert describe(TrialConfig().model_dump(mode="json")) == "mean concat"
    deep = TrialConfig(hidden=ResidualHidden(layers=2, dim=512), head=ChainedHead(experts=4))
    assert describe(deep.model_dump(mode="json")) == "mean concat residual2x512 chained4"
    assert flatten({"a": {"b": 1, "c": None}, "d": True}) == {"a.b": "1", "d": "True"}


def test_a_trials_run_has_its_curve_and_its_best_under_another_name() -> None:
    run = trial_run(SWEEP, TRIALS[0])
    assert (run.key, run.parent_key, run.status) == ("s/0", "s", "finished")
    assert run.name == "#0 bigru2x512 mean shared256"
    steps = [(step, metrics["val_gap"]) for step, metrics in run.metrics if "val_gap" in metrics]
    assert steps == [(1, 0.3), (2, 0.5), (3, 0.4)]
    step, final = run.metrics[-1]
    assert (step, final["best_val_gap"], final["test_gap"]) == (3, 0.5, 0.45)
    failed = trial_run(SWEEP, TRIALS[1])
    assert (failed.status, failed.tags["dmlray.reason"]) == ("failed", "nan")


def test_the_parent_run_shows_the_best_so_far() -> None:
    ended = [trial(0, TrialState.complete, 0.4), trial(1, TrialState.complete, 0.3), trial(2, TrialState.pruned, 0.5)]
    run = sweep_run(SWEEP, ended, is_over=True)
    assert [metrics["best_val_gap"] for _, metrics in run.metrics] == [0.4, 0.4, 0.5]
    assert (run.status, run.parent_key) == ("finished", None)
