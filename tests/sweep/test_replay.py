"""Replays: what they ask, spend and reach, held against the real driver on the same recordings."""

import json
import math
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dmlray.cli.app import app
from dmlray.config import TrialConfig
from dmlray.sweep.comparison import compare
from dmlray.sweep.director import StudyDirector
from dmlray.sweep.grid import grid_points
from dmlray.sweep.names import SamplerName, StoppingName
from dmlray.sweep.pool import Pool
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.replay import Replayed, Strategy, replay, strategies
from dmlray.sweep.sampler import planned
from dmlray.sweep.settings import SweepConfig, SweepFolder
from dmlray.sweep.space import Space
from dmlray.sweep.stopping import StoppingConfig
from dmlray.sweep.study import Study
from dmlray.train.channel import Event, TrialEnd
from dmlray.train.task import EpochReport, TrialOutcome
from tests.report.sweeps import make_sweep, trained
from tests.sweep.spaces import load_text

pytestmark = pytest.mark.thorough

EPOCHS = 6
GRID = """
stopping: {rule: RULE, min_epochs: 1, eta: 2}
space:
  epochs: 6
  encoder: {choice: {none: {}, gru: {hidden: {int: [8, 64], step: 8}}}}
  head: {kind: logistic, dropout: {float: [0.0, 0.4], step: 0.1}}
  optimizer: {kind: adam, learning_rate: {choice: [0.001, 0.01, 0.1]}}
"""


def gap(config: dict[str, dict[str, object]], epoch: int) -> float:
    """A made-up curve: slow where the rate is low."""
    rate, dropout = float(str(config["optimizer"]["learning_rate"])), float(str(config["head"]["dropout"]))
    hidden = int(str(config["encoder"].get("hidden", 20)))
    best = 0.6 - 0.1 * abs(math.log10(rate) + 2) - 0.2 * abs(dropout - 0.2) + hidden / 2000
    return best * (1 - math.exp(-epoch * (1 + 10 * rate)))


def recorded(space: Space) -> list[TrialRecord]:
    """Every configuration of the grid, trained to the end; epochs of a GRU take longer."""
    trials = []
    for number, point in enumerate(grid_points(space)):
        proposal = planned(space, point)
        config = TrialConfig.model_validate(proposal.config).model_dump(mode="json")
        seconds = 20.0 if config["encoder"]["kind"] == "gru" else 10.0
        curve = tuple((epoch, {"val_gap": gap(config, epoch), "epoch_s": seconds}) for epoch in range(1, EPOCHS + 1))
        value = max(metrics["val_gap"] for _, metrics in curve)
        trials.append(TrialRecord(number, TrialState.complete, proposal.params, config, curve=curve, value=value))
    return trials


def space_with(folder: Path, rule: str) -> Space:
    return load_text(folder, GRID.replace("RULE", rule))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    space = space_with(tmp_path_factory.mktemp("space"), "none")
    return Pool(space, recorded(space))


def drive(folder: Path, space: Space, sampler: SamplerName, trials: int) -> list[tuple[dict[str, object], int]]:
    """The real study and director with recordings for a trainer: parameters and epochs of each trial."""
    sweep = SweepFolder(folder, "toy")
    sweep.path.mkdir()
    config = SweepConfig(name="toy", data=folder, fingerprints={}, trials=trials, sampler=sampler, tracking_uri="")
    with closing(Study.create(sweep.study, "toy", 5, sampler)) as study:
        director = StudyDirector(config, sweep, space, study, lambda config: None)
        while (task := director.next_task()) is not None:
            plain = task.config.model_dump(mode="json")
            goes_on, epoch = True, 0
            while goes_on and epoch < EPOCHS:
                epoch += 1
                goes_on = director.on_event(
                    Event(task.number, EpochReport(epoch, {"val_gap": gap(plain, epoch)}, "c", "d"))
                )
            if goes_on:
                outcome = TrialOutcome("complete", EPOCHS, gap(plain, EPOCHS), {})
                director.on_event(Event(task.number, TrialEnd(outcome=outcome)))
        return [(dict(trial.params), len(trial.curve)) for trial in study.trials()]


@pytest.mark.thorough
@pytest.mark.parametrize(("sampler", "rule"), [("tpe", "asha"), ("random", "median"), ("quasirandom", "hyperband")])
def test_a_replay_does_what_the_driver_does(tmp_path: Path, sampler: SamplerName, rule: StoppingName) -> None:
    space = space_with(tmp_path, rule)
    pool = Pool(space, recorded(space))
    played = replay(space, pool, Strategy(sampler, space.stopping), 5, 14)
    driven = drive(tmp_path, space, sampler, 14)
    curves = {curve.number: curve for curve in pool.curves}
    assert [dict(curves[number].params) for number in played.trials] == [params for params, _ in driven]
    assert len(played.points) == sum(epochs for _, epochs in driven)
    assert played.distance == 0, "every suggestion was recorded"


def test_the_same_seed_plays_the_same(tmp_path: Path, pool: Pool) -> None:
    space = space_with(tmp_path, "asha")
    plays = [replay(space, pool, Strategy("tpe", space.stopping), seed, 12) for seed in (1, 1, 2)]
    assert plays[0] == plays[1] != plays[2]


@pytest.mark.thorough
def test_no_recorded_trial_runs_twice_and_all_may_run(tmp_path: Path, pool: Pool) -> None:
    space = space_with(tmp_path, "none")
    played = replay(space, pool, Strategy("random", space.stopping), 0, len(pool.curves), slots=4)
    assert sorted(played.trials) == [curve.number for curve in pool.curves]
    assert len(played.points) == EPOCHS * len(pool.curves)
    assert played.best == max(value for curve in pool.curves for _, value in curve.history)


def test_slots_share_the_time(tmp_path: Path, pool: Pool) -> None:
    space = space_with(tmp_path, "none")
    alone, four = (replay(space, pool, Strategy("random", space.stopping), 0, 12, slots) for slots in (1, 4))
    seconds = {curve.number: sum(curve.seconds) for curve in pool.curves}
    assert alone.trials == four.trials
    assert alone.points[-1][1] == pytest.approx(sum(seconds[number] for number in alone.trials))
    assert max(seconds.values()) < four.points[-1][1] < alone.points[-1][1] / 2
    assert [point[1] for point in four.points] == sorted(point[1] for point in four.points)


def test_the_most_similar_unused_trial_stands_in(pool: Pool) -> None:
    wanted = pool.curves[20]
    assert pool.nearest(wanted.params, set()) == (wanted, 0)
    other, apart = pool.nearest(wanted.params, {wanted.number})
    assert 0 < apart <= 0.2
    assert other.params["optimizer.learning_rate"] == wanted.params["optimizer.learning_rate"], "a choice weighs most"
    with pytest.raises(ValueError, match="used"):
        pool.nearest(wanted.params, {curve.number for curve in pool.curves})


def test_a_recording_that_ends_early_is_told_as_stopped_there(tmp_path: Path) -> None:
    space = space_with(tmp_path, "none")
    trials = recorded(space)[:8]
    short = [TrialRecord(t.number, TrialState.pruned, t.params, t.config, curve=t.curve[:2], value=0.1) for t in trials]
    played = replay(space, Pool(space, short), Strategy("tpe", space.stopping), 0, 8)
    assert len(played.points) == 16


def test_trials_without_a_curve_or_outside_the_space_are_no_recordings(tmp_path: Path) -> None:
    space = space_with(tmp_path, "none")
    whole, silent, outside = recorded(space)[:3]
    silent = TrialRecord(1, TrialState.failed, silent.params, silent.config)
    outside = TrialRecord(2, TrialState.complete, {}, outside.config, curve=outside.curve, value=0.5)
    assert [curve.number for curve in Pool(space, [whole, silent, outside]).curves] == [0]


def run(*points: tuple[int, float, float]) -> Replayed:
    return Replayed(points, (), 0.0)


def test_a_comparison_counts_epochs_to_the_best_of_random_search() -> None:
    plain = [run((1, 60.0, 0.1), (2, 120.0, 0.5), (3, 180.0, 0.5), (4, 240.0, 0.5)) for _ in range(3)]
    fast = [run((1, 60.0, 0.6)), run((1, 60.0, 0.6)), run((1, 60.0, 0.2))]
    named = strategies(StoppingConfig(), ["tpe"], ["asha"])
    assert [strategy.name for strategy in named] == ["random+none", "tpe+asha"]
    base, other = compare(list(zip(named, (plain, fast), strict=True)), [0.55])
    to_best, to_gap = other.reaches
    assert (to_best.reached, to_best.epochs, to_best.share, to_best.share_of_all) == (2, 1, 0.5, 0.25)
    assert to_best.hours == pytest.approx(60 / 3600)
    assert (base.reaches[0].epochs, base.reaches[0].share) == (2, 1.0)
    assert (to_gap.reached, to_gap.epochs, to_gap.share) == (2, 1, None), "random search never came there"
    assert (base.reaches[1].reached, base.reaches[1].epochs) == (0, None)
    assert [gap for _, gap in base.best_within] == [0.1, 0.5, 0.5, 0.5]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sweep(tmp_path_factory.mktemp("results") / "r", trained, trials=14).path.parent


@pytest.fixture
def search(results: Path) -> Callable[..., Result]:
    def call(*words: str) -> Result:
        return CliRunner().invoke(app, ["search", "--results", str(results), *words])

    return call


def test_the_command_prints_strategies_side_by_side(search: Callable[..., Result]) -> None:
    shown = search("--replay", "first", "--seeds", "2", "--gap", "0.3", "--sampler", "random")
    assert shown.exit_code == 0, shown.output
    assert all(name in shown.output for name in ("random+none", "random+hyperband", "to GAP 0.3", "2 of 2"))


def test_the_command_answers_in_json(search: Callable[..., Result]) -> None:
    shown = search("--replay", "first", "--seeds", "2", "--stopping", "asha", "--trials", "5", "--json")
    found = json.loads(shown.stdout)
    assert [row["strategy"] for row in found["strategies"]] == ["random+none", "random+asha", "tpe+asha"]
    assert (found["trials"], found["seeds"], found["recorded"]) == (5, 2, 12)
    assert len(found["curves"]["tpe+asha"]) == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--replay", "first", "--name", "x"], "--name has no meaning with --replay"),
        (["--replay", "first", "--hours", "1"], "--hours has no meaning with --replay"),
        (["--replay", "first", "--trials", "99"], "at most the 12 recorded trials"),
        (["--replay", "first", "--sampler", "grid"], "discrete for a grid"),
        (["--replay", "nothing"], "no sweep"),
        (["--seeds", "3"], "--seeds goes with --replay"),
        (["--resume", "first", "--stopping", "asha"], "--stopping was settled"),
        (["--resume", "first", "--gpu-hours", "1"], "--gpus-per-trial above 0"),
    ],
)
def test_the_command_refuses(search: Callable[..., Result], words: list[str], sentence: str) -> None:
    refused = search(*words)
    assert sentence in str(refused.exception)
