"""Plans: the arithmetic against a simulation, and the command against a data set and a study."""

import heapq
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from dmlray.cli.app import app
from dmlray.cluster_file import NodeType
from dmlray.config import TrialConfig
from dmlray.data.schema import PRESETS
from dmlray.errors import ConfigError, UsageError
from dmlray.sweep.footprint import sweep_bytes, trial_bytes
from dmlray.sweep.plan import Recorded, plan_sweep, recorded
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.settings import Resources
from tests.data.videos import VIDEO, random_block, write_dataset
from tests.sweep.trained import new_sweep

ROOT = Path(__file__).parents[2]
HEAD = NodeType("head", {"CPU": 0.0}, price=0.2)
GPU = NodeType("gpu", {"CPU": 8.0, "GPU": 1.0}, price=1.0)
SEEN = Recorded(4, 1800.0, 3600.0)


def makespan_s(durations: list[float], slots: int) -> float:
    """Each trial goes to the slot that is free first."""
    free = [0.0] * slots
    for duration in durations:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


@given(durations=st.lists(st.floats(1, 1e4), min_size=1, max_size=40), slots=st.integers(1, 12))
def test_the_hours_hold_for_trials_like_those_recorded(durations: list[float], slots: int) -> None:
    known = Recorded(len(durations), sum(durations) / len(durations), max(durations))
    made = plan_sweep(len(durations), Resources(gpus_per_trial=1), [HEAD, *[GPU] * slots], known)
    assert made.hours is not None
    least, most = made.hours
    assert least * (1 - 1e-9) <= makespan_s(durations, made.at_once) / 3600 <= most * (1 + 1e-9)


def test_figures() -> None:
    made = plan_sweep(40, Resources(gpus_per_trial=1, cpus_per_trial=7), [HEAD, *[GPU] * 4], SEEN)
    assert made.at_once == 4
    assert made.nodes == {"head": 1, "gpu": 4}
    assert made.cpus_left == 1
    assert made.hours == pytest.approx((5.0, 5.75))
    assert made.gpu_hours == pytest.approx(20.0)
    assert made.cost == pytest.approx((5.0 * 4.2, 5.75 * 4.2))
    assert made.notes == ()


def test_nothing_is_said_that_is_not_known() -> None:
    free = NodeType("gpu", {"CPU": 8.0, "GPU": 1.0})
    assert plan_sweep(4, Resources(), [free], None).hours is None
    assert plan_sweep(4, Resources(), [free], SEEN).cost is None


@pytest.mark.parametrize(
    ("resources", "trials", "note"),
    [
        (Resources(gpus_per_trial=1, cpus_per_trial=8), 40, "take all CPUs of a node"),
        (Resources(gpus_per_trial=0.5, cpus_per_trial=8), 40, r"^2 GPUs stay idle: give trials fewer CPUs"),
        (Resources(), 40, r"^4 GPUs stay idle: give --gpus-per-trial"),
        (Resources(gpus_per_trial=1), 2, "4 trials would fit at once and 2 are asked for"),
    ],
)
def test_waste_is_told(resources: Resources, trials: int, note: str) -> None:
    made = plan_sweep(trials, resources, [HEAD, *[GPU] * 4], SEEN)
    assert any(re.search(note, each) for each in made.notes), made.notes


def test_what_would_wait_for_ever_is_refused() -> None:
    with pytest.raises(ConfigError, match="--gpus-per-trial must be at most the 1 GPUs of the largest node"):
        plan_sweep(4, Resources(gpus_per_trial=2), [HEAD, GPU], SEEN)
    with pytest.raises(ConfigError, match="at most the 1 workers of such a trial that fit"):
        plan_sweep(4, Resources(gpus_per_trial=4, workers_per_trial=4), [HEAD, GPU], SEEN)


def trial(number: int, state: TrialState, epochs: int, span_s: float, attempts: int = 1) -> TrialRecord:
    start = datetime(2026, 11, 22, tzinfo=UTC)
    curve = tuple((epoch, {"val_gap": 0.5, "epoch_s": 10.0}) for epoch in range(1, epochs + 1))
    kept = tuple(("c", "d") for _ in curve)
    return TrialRecord(
        number=number,
        state=state,
        params={},
        config={"epochs": 4},
        curve=curve,
        checkpoints=kept,
        attempts=attempts,
        started=start,
        finished=start + timedelta(seconds=span_s),
    )


def test_an_interrupted_trial_counts_its_training_only() -> None:
    trials = [
        trial(0, TrialState.complete, 4, 50.0),
        trial(1, TrialState.pruned, 1, 12.0),
        trial(2, TrialState.complete, 4, 90_000.0, attempts=2),
        trial(3, TrialState.running, 2, 1.0),
    ]
    assert recorded(trials) == Recorded(3, pytest.approx((50 + 12 + 40) / 3), 50.0)
    assert recorded(trials[3:]) is None


@pytest.mark.thorough
@pytest.mark.parametrize("optimizer", ["adam", "schedule_free"])
def test_a_checkpoint_is_as_large_as_planned(tmp_path: Path, optimizer: str) -> None:
    from dmlray.model.build import build_model
    from dmlray.train.checkpoint import Best, CheckpointState, save_checkpoint
    from dmlray.train.optim import build_optimizer, set_training

    config = TrialConfig.model_validate(
        {"optimizer": {"kind": optimizer}, "epochs": 1, "hidden": {"kind": "residual", "dim": 256}}
    )
    model = build_model(config, VIDEO)
    optim = build_optimizer(model, config.optimizer)
    set_training(optim, True)
    sum(tensor.sum() for tensor in model.parameters()).backward()
    optim.step()
    best = Best(epoch=1, value=0.5, metrics={})
    save_checkpoint(tmp_path / "c", CheckpointState(config, "data", 1, 1, best, model.state_dict(), optim.state_dict()))
    planned = trial_bytes(config, VIDEO, videos=0)
    assert planned <= (tmp_path / "c").stat().st_size <= 1.05 * planned + 8192


def test_of_trials_that_have_ended_one_checkpoint_is_left() -> None:
    config, schema = TrialConfig(epochs=8), PRESETS["yt8m-video"]
    ended, training = trial_bytes(config, schema, 0, has_ended=True), trial_bytes(config, schema, 0)
    assert training == 4 * ended
    more = config.model_copy(update={"snapshots": 3})
    assert trial_bytes(more, schema, 0, has_ended=True) == 3 * ended
    assert trial_bytes(more, schema, 0) == 6 * ended
    assert sweep_bytes([config], schema, 0, trials=10, at_once=2) == (8 * ended + 2 * training,) * 2


@pytest.mark.thorough
def test_on_a_storage_path_all_trials_need_the_room_of_training_ones(tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    new_sweep(tmp_path, 9, name="here")
    new_sweep(tmp_path, 9, name="copied", storage_path=str(tmp_path / "storage"))
    cluster = [
        "--cluster",
        str(ROOT / "cluster" / "gpu.yaml"),
        "--results",
        str(tmp_path),
        "--json",
        "--concurrency",
        "1",
    ]
    here, copied = (
        json.loads(CliRunner().invoke(app, ["plan", name, *cluster], catch_exceptions=False).stdout)["storage_bytes"][0]
        for name in ("here", "copied")
    )
    assert copied > here


def test_more_videos_need_more_room() -> None:
    config, schema = TrialConfig(), PRESETS["yt8m-video"]
    assert trial_bytes(config, schema, 1001) - trial_bytes(config, schema, 1000) == 50 * 8 + 64


@pytest.mark.thorough
def test_the_command(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        write_dataset(tmp_path / "data", VIDEO, [[random_block(VIDEO, 4)]], split)
    space = tmp_path / "space.yaml"
    space.write_text(
        "trials: 9\nspace: {epochs: 2, optimizer: {kind: adam, learning_rate: {float: [0.001, 0.1], log: true}}}\n"
    )
    base = ["plan", "--data", str(tmp_path / "data"), "--space", str(space), "--results", str(tmp_path)]
    cluster = ["--cluster", str(ROOT / "cluster" / "gpu.yaml"), "--gpus-per-trial", "1"]
    told = CliRunner().invoke(app, [*base, *cluster, "--json"], catch_exceptions=False)
    found = json.loads(told.stdout)
    assert (found["trials"], found["at_once"], found["nodes"]) == (9, 8, {"head": 1, "l4": 8})
    assert found["hours"] is None
    assert found["storage_bytes"][0] > 0
    said = CliRunner().invoke(app, [*base, *cluster], catch_exceptions=False).stdout
    assert "9, 8 at once" in said
    assert "time               unknown: try a few trials" in said
    refused = CliRunner().invoke(app, [*base, *cluster[:2], "--gpus-per-trial", "2"])
    assert isinstance(refused.exception, ConfigError)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "a plan needs the name of a sweep, or --space and --data"),
        (["--space", "space.yaml"], "a plan needs the name of a sweep, or --space and --data"),
        (["first", "--space", "space.yaml"], "a sweep that exists has its data and space"),
        (["first", "--calibrate", "--from", "other"], "--calibrate measures what --from NAME would tell"),
    ],
)
def test_what_cannot_be_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text("space: {epochs: 1}\n")
    refused = CliRunner().invoke(app, ["plan", *words]).exception
    assert isinstance(refused, UsageError)
    assert str(refused).startswith(problem)
