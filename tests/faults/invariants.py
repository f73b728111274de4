"""What must hold of a sweep whatever befell it: the oracle's account against the study's, and that against MLflow's.

The letters are those of the fault matrix. I8 and I9 are asked apart, where they apply.
"""

import warnings
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from dmlray.sweep.records import TrialRecord, TrialState
from tests.faults.oracle import Event
from tests.faults.sandbox import STEPS, TRIALS, Sandbox

Table = list[tuple[object, ...]]


class Tally(NamedTuple):
    """``lost``: trials trained to their end that the study lacks; ``repeated``: trials trained again after their end;
    ``steps``: steps that were done more than once."""

    lost: int
    repeated: int
    steps: int


def check(sandbox: Sandbox, trials: int = TRIALS, *, is_fallback: bool = False) -> Tally:
    """Raise AssertionError where an invariant is broken. ``is_fallback``: a checkpoint was damaged on purpose."""
    records, events = sandbox.trials(), sandbox.events()
    tally = account(events, {record.number for record in records if record.value is not None})
    assert tally.lost == 0, "I1: every trial that was trained to its end is in the study"
    assert [record.number for record in records] == list(range(trials)), "I2: exactly N trials, each number once"
    assert all(record.state.is_finished for record in records), "I2: all of them finished"
    assert tally.repeated == 0, "I3: a finished trial is never trained again"
    _nothing_after_a_commit(sandbox, events)
    _resumed_at_the_last_commit(sandbox, events, is_fallback)
    for record in records:
        epochs = [epoch for epoch, _ in record.curve]
        assert epochs == list(range(1, len(epochs) + 1)), f"I5: trial {record.number} has epochs {epochs}"
    if sandbox.is_behind:
        sandbox.agree()
    if sandbox.tracking is None:
        mirrors(records, mlflow_runs(f"sqlite:///{sandbox.folder / 'results/mlflow.db'}"))
    return tally


def account(events: list[Event], told: set[int]) -> Tally:
    """Count what was lost and repeated; ``told`` are the trials whose result is known at the end."""
    finished: set[object] = set()
    repeated: set[object] = set()
    steps: Counter[tuple[object, ...]] = Counter()
    for event in events:
        if event["what"] == "finish" and event["status"] == "complete":
            finished.add(event["trial"])
        if event["what"] == "step":
            steps[event["trial"], event["epoch"], event["step"]] += 1
            if event["trial"] in finished:
                repeated.add(event["trial"])
    return Tally(len(finished - told), len(repeated), sum(count - 1 for count in steps.values()))


def _nothing_after_a_commit(sandbox: Sandbox, events: list[Event]) -> None:
    """I3: neither a start nor a step once the final value was in the study."""
    committed: set[int] = set()
    looks = list(sandbox.looks)
    for index, event in enumerate(events):
        while looks and index >= looks[0].events:
            committed |= looks.pop(0).finished
        if event["what"] == "committed":
            committed.add(event["trial"])
        if event["what"] in ("start", "step"):
            assert event["trial"] not in committed, f"I3: {event} after its trial was finished"


def _resumed_at_the_last_commit(sandbox: Sandbox, events: list[Event], is_fallback: bool) -> None:
    """I4: an attempt begins right after the last epoch that the study had, so that at most one epoch is repeated.

    Within that epoch it begins at its first step or, after a notice, right after the last one that was done.
    """
    known: Counter[int] = Counter()
    last: dict[int, tuple[int, int]] = {}
    looks, begun = list(sandbox.looks), set[tuple[object, ...]]()
    for index, event in enumerate(events):
        while looks and index >= looks[0].events:
            known |= Counter(looks.pop(0).epochs)
        attempt = event.get("trial"), event["host"], event["pid"]
        if event["what"] == "reported":
            known[event["trial"]] = max(known[event["trial"]], event["epoch"])
        if event["what"] == "start":
            begun.add(attempt)
        if event["what"] == "step":
            if attempt in begun:
                begun.remove(attempt)
                goes_on = (event["epoch"], event["step"] - 1) == last.get(event["trial"])
                assert event["step"] == 1 or goes_on, f"I4: {event} after {last.get(event['trial'])}"
                if not is_fallback:
                    assert event["epoch"] > known[event["trial"]], f"I4: {event}, but {known[event['trial']]} was saved"
            last[event["trial"]] = event["epoch"], event["step"]


def table(sandbox: Sandbox) -> Table:
    """I8: what must not depend on interruptions. Only the seconds may differ."""
    timed = {"videos_per_s", "epoch_s", "wait_share", "sweep_s", "evaluation_s", "checkpoint_s", "startup_s", "test_s"}
    return [
        (
            record.number,
            record.state,
            record.params,
            record.value,
            record.best_epoch,
            {name: value for name, value in record.metrics.items() if name not in timed},
            [(epoch, {n: v for n, v in metrics.items() if n not in timed}) for epoch, metrics in record.curve],
            record.digest,
        )
        for record in sandbox.trials()
    ]


def mlflow_runs(uri: str) -> dict[str, list[object]]:
    """Of each key: status and curves of its runs, of which there must be one."""
    from mlflow import MlflowClient

    found: dict[str, list[object]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLAlchemy's, of MLflow's models
        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name("dmlray")
        assert experiment is not None
        for run in client.search_runs([experiment.experiment_id]):
            history = client.get_metric_history(run.info.run_id, "val_gap")
            curve = [(point.step, point.value) for point in sorted(history, key=lambda point: point.step)]
            found.setdefault(run.data.tags["dmlray.key"], []).append((run.info.status, curve))
    return found


def mirrors(records: list[TrialRecord], runs: Mapping[str, list[object]], name: str = "toy") -> None:
    """I6: MLflow has each trial once, with the study's curve and none left running."""
    assert set(runs) == {name, *(f"{name}/{record.number}" for record in records)}, "I6: one run per trial"
    assert all(len(found) == 1 for found in runs.values()), "I6: no run twice"
    assert runs[name][0][0] == "FINISHED", "I6: the sweep's run is over"  # type: ignore[index]
    for record in records:
        status = "FAILED" if record.state is TrialState.failed else "FINISHED"
        curve = [(epoch, metrics["val_gap"]) for epoch, metrics in record.curve]
        found = runs[f"{name}/{record.number}"]
        assert found == [(status, curve)], f"I6: trial {record.number} is {(status, curve)} in the study, {found} there"


def interrupted_steps(kills: int) -> int:
    """How many steps ``kills`` interruptions may repeat: of each, the epoch that was under way."""
    return kills * STEPS
