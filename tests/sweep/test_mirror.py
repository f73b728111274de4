"""What MLflow is told of a sweep, and what a server that fails may cost."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dmlray.errors import BusyError, LeaseLostError
from dmlray.sweep import mirror as module
from dmlray.sweep.mirror import SweepMirror
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.runs import sweep_run, trial_run
from dmlray.sweep.settings import SweepConfig
from dmlray.tracking import RunRecord

CONFIG = SweepConfig(name="toy", data=Path("/data"), fingerprints={}, trials=2, tracking_uri="")
BEGUN = {
    "encoder": {"kind": "none"},
    "pooling": {"kind": "mean"},
    "fusion": {"kind": "concat"},
    "head": {"kind": "logistic"},
}
EPOCH = {"val_gap": 0.5, "epoch_s": 1800.0, "wait_share": 0.25, "gpu_s": 900.0, "evaluation_s": 60.0}
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
DONE = TrialRecord(
    0,
    TrialState.complete,
    {},
    BEGUN,
    curve=((1, EPOCH), (2, EPOCH | {"wait_share": 0.75})),
    value=0.5,
    metrics={"val_gap": 0.5, "test_gap": 0.4, "evaluation_s": 60.0},
    attempts=2,
    retries={"preempted": 1},
    started=NOON,
    finished=NOON,
)
FAILED = TrialRecord(
    1, TrialState.failed, {}, BEGUN, reason="nan", message="the loss is nan", started=NOON, finished=NOON
)


class Recorder:
    """Stands in for the background tracker."""

    def __init__(self, uri: str, experiment: str) -> None:
        self.sent: list[list[str]] = []
        self.newest: dict[str, RunRecord] = {}
        self.is_failing, self.abandoned, self.timeout = False, False, 0.0

    def submit(self, records: list[RunRecord]) -> None:
        self.sent.append([record.key for record in records])
        self.newest |= {record.key: record for record in records}

    def abandon(self) -> None:
        self.abandoned = True

    def close(self, timeout_s: float) -> str | None:
        self.timeout = timeout_s
        return "2 runs are not up to date" if self.is_failing else None


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BackgroundTracker", Recorder)


def recorder(mirror: SweepMirror) -> Recorder:
    tracker = mirror._tracker
    assert isinstance(tracker, Recorder)
    return tracker


def test_a_trial_tells_its_curve_its_costs_and_how_it_ended() -> None:
    run = trial_run(CONFIG, DONE)
    assert run.metrics[-1] == (
        2,
        {
            "best_val_gap": 0.5,
            "test_gap": 0.4,
            "train_hours": 1.0,
            "gpu_hours": 0.5,
            "total_wait_share": 0.5,
            "total_evaluation_s": 120.0,
        },
    )
    assert (run.tags["dmlray.attempts"], run.tags["dmlray.retries.preempted"]) == ("2", "1")
    failed = trial_run(CONFIG, FAILED)
    assert (failed.status, failed.tags["dmlray.reason"], failed.tags["dmlray.message"]) == (
        "failed",
        "nan",
        "the loss is nan",
    )


def test_a_sweep_tells_its_best_and_what_it_all_cost() -> None:
    run = sweep_run(CONFIG, [DONE, FAILED], is_over=True)
    assert run.metrics == [(0, {"best_val_gap": 0.5, "train_hours": 1.0, "gpu_hours": 0.5})]


def test_everything_is_sent_at_the_first_change_then_only_what_changed() -> None:
    with SweepMirror(CONFIG, lambda: [DONE, FAILED], pytest.fail) as mirror:
        mirror.update(DONE)  # as after an epoch: its state is the same
        assert recorder(mirror).sent == [["toy/0", "toy/1", "toy"]]
        mirror.update(DONE)
        mirror.update(TrialRecord(2, TrialState.running, {}, BEGUN))
        assert recorder(mirror).sent[1:] == [["toy/0"], ["toy/2", "toy"]]
    assert recorder(mirror).timeout == 30.0


def test_a_driver_that_is_refused_sends_nothing() -> None:
    """What it has read may be older than what the driver that is at work has sent."""
    mirror = SweepMirror(CONFIG, pytest.fail, pytest.fail)  # type: ignore[arg-type]
    with pytest.raises(BusyError), mirror:
        raise BusyError("another driver is at work")
    assert recorder(mirror).sent == []


def test_the_sweeps_own_run_gets_what_is_attached() -> None:
    with SweepMirror(CONFIG, lambda: [DONE, FAILED], pytest.fail) as mirror:
        mirror.settle(CONFIG)
        mirror.attach(Path("report.html"))
        assert recorder(mirror).sent[1:] == [["toy"]]
        mirror.settle(CONFIG)
    assert recorder(mirror).newest["toy"].artifacts == [Path("report.html")]


def test_a_failing_server_costs_a_hundredth_of_the_sweep_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    now = time.monotonic()
    with SweepMirror(CONFIG, lambda: [DONE], warnings.append) as mirror:
        recorder(mirror).is_failing = True
        monkeypatch.setattr(time, "monotonic", lambda: now + 600)
    assert recorder(mirror).timeout == pytest.approx(6, abs=0.1)
    assert "fsck --repair" in warnings[0]


def test_a_driver_that_lost_its_sweep_sends_nothing_more() -> None:
    with pytest.raises(LeaseLostError), SweepMirror(CONFIG, lambda: [DONE], pytest.fail) as mirror:
        raise LeaseLostError("taken over")
    assert recorder(mirror).abandoned
