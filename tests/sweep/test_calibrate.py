"""Calibration: seconds a video of what is really trained, within its time, and a plan made of them."""

import itertools
import json
import os
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from dmlray.cli.app import app
from dmlray.cluster import run_there
from dmlray.config import TrialConfig
from dmlray.data.batch import Batch
from dmlray.errors import ConfigError, MissingInputError, UsageError
from dmlray.sweep.calibrate import Calibration, Timing, _Timed, calibrate, calibrate_on
from tests.data.videos import VIDEO
from tests.train.trials import CPU, LOGISTIC, VIDEOS, write_data

TIMINGS = (Timing("dear", 0.05, 0.01, 4), Timing("cheap", 0.001, 0.001, 10), Timing("middle", 0.01, 0.002, 3))


def test_a_trial_is_reckoned_from_its_videos() -> None:
    assert TIMINGS[0].trial_s(100, 20, 10) == pytest.approx(4 * (5 + 0.2) + 0.1)
    found = Calibration(TIMINGS, (), 3).recorded(100, 20, 10, workers=2)
    each = [timing.trial_s(100, 20, 10) / 2 for timing in TIMINGS]
    assert (found.trials, found.mean_s, found.longest_s) == (3, pytest.approx(sum(each) / 3), max(each))


def test_examples_are_ordered_by_cost() -> None:
    found = Calibration(TIMINGS, (), 3).examples()
    assert [found[kind].model for kind in ("cheapest", "middle", "dearest")] == ["cheap", "middle", "dear"]


class Clock:
    """Time passes only where it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Steps:
    """Batches of 8 videos whose steps take ``seconds``, the n-th the n-th of them."""

    def __init__(self, clock: Clock, seconds: list[float], make: Callable[[], Batch]) -> None:
        self._clock, self._seconds, self._make = clock, seconds, make

    def epoch(self, epoch: int) -> Generator[Batch, None, None]:
        for seconds in self._seconds:
            batch = self._make()
            self._clock.now += seconds
            yield batch


def batch() -> Batch:
    import numpy as np

    none = torch.zeros((8, 1))
    return Batch({"visual": none}, none.bool(), none.long(), [""] * 8, np.arange(8))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [([100.0, 1.0, 1.0], 1 / 8), ([4.0], 4 / 8), ([1.0, 3.0, 5.0, 100.0, 100.0], 4 / 8)],
)
def test_the_first_batch_warms_up(seconds: list[float], expected: float) -> None:
    clock = Clock()
    timed = _Timed(Steps(clock, seconds, batch), 8.0, CPU, clock)
    assert sum(1 for _ in timed.epoch(0)) <= 3
    assert timed.video_s == pytest.approx(expected)


def config(**changes: object) -> TrialConfig:
    return TrialConfig.model_validate({**LOGISTIC, **changes})


@pytest.mark.thorough
def test_points_are_trained_until_the_time_is_over(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", VIDEO)
    ticks = itertools.count()
    configs = [config(epochs=epochs) for epochs in (1, 2, 3)]
    whole = calibrate(configs, data, 1, CPU, budget_s=1e6)
    assert [timing.epochs for timing in whole.timings] == [1, 2, 3]
    assert all(timing.train_s > 0 and timing.evaluate_s > 0 for timing in whole.timings)
    short = calibrate(configs, data, 1, CPU, budget_s=1e-6, clock=lambda: float(next(ticks)))
    assert (len(short.timings), short.points) == (1, 3)


@pytest.mark.thorough
def test_a_point_that_cannot_be_trained_is_told_and_left_out(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", VIDEO)
    bad = config(encoder={"kind": "transformer", "hidden": 6, "heads": 4})
    found = calibrate([bad, config()], data, 1, CPU, budget_s=0.1)
    assert len(found.timings) == 1
    assert found.refusals[0].startswith("transformer2x6")
    with pytest.raises(ConfigError, match="can be trained here"):
        calibrate([bad], data, 1, CPU, budget_s=0.1)


@pytest.mark.ray
def test_it_runs_on_a_node_of_a_cluster(ray_session: None, tmp_path: Path) -> None:
    assert run_there(lambda: os.getpid(), 1, 0) != os.getpid()
    with pytest.raises(MissingInputError, match="no converted dataset"):
        run_there(partial(calibrate_on, [], tmp_path, 1, "cpu"), 1, 0)


@pytest.mark.thorough
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dmlray.sweep.calibrate.BUDGET_S", 0.2)
    data = write_data(tmp_path / "data", VIDEO)
    space = tmp_path / "space.yaml"
    space.write_text("trials: 3\nspace: {epochs: 2, batch_size: {choice: [8, 16]}}\n")
    words = ["plan", "--data", str(data), "--space", str(space), "--results", str(tmp_path), "--calibrate"]
    told = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    found = json.loads(told.stdout)
    assert set(found["calibrated"]) == {"cheapest", "middle", "dearest"}
    dear = found["calibrated"]["dearest"]
    one = Timing(**dear).trial_s(VIDEOS["train"], VIDEOS["validation"], VIDEOS["test"])
    assert found["recorded"]["longest_s"] >= one * (1 - 1e-9)
    assert found["hours"][0] > 0
    said = CliRunner().invoke(app, words, catch_exceptions=False).stdout
    assert "timed here" in said
    assert "dearest point" in said
    assert isinstance(CliRunner().invoke(app, [*words, "--from", "x"]).exception, UsageError)
