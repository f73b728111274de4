"""How a sweep ends before its number of trials: by hours, GPU-hours, or a space that holds nothing more."""

from contextlib import closing
from pathlib import Path

import pytest

from dmlray.sweep.budgets import gpu_seconds, seconds_run
from dmlray.sweep.director import StudyDirector
from dmlray.sweep.session import create_sweep
from dmlray.sweep.settings import SweepConfig, SweepFolder, end_of, load_settings
from dmlray.sweep.study import Study
from dmlray.train.channel import Event, TrialEnd
from dmlray.train.task import EpochReport, TrialOutcome
from tests.sweep.spaces import load_text

pytestmark = pytest.mark.thorough

SMALL = """
space:
  epochs: 2
  encoder: {choice: {none: {}, gru: {hidden: {choice: [8, 16]}}}}
"""


class Driver:
    """One driver's life on a sweep, with a clock that stands until it is set."""

    def __init__(self, folder: SweepFolder) -> None:
        self.study = Study.open(folder.study)
        self.now = 1000.0
        config, space = load_settings(folder), load_text(folder.path, SMALL)
        self.director = StudyDirector(config, folder, space, self.study, lambda config: None, lambda: self.now)

    def train_one(self, seconds: float) -> bool:
        """Train the next trial, an epoch of which takes ``seconds``; False where there is none."""
        task = self.director.next_task()
        if task is None:
            return False
        for epoch in (1, 2):
            self.now += seconds
            report = EpochReport(epoch, {"val_gap": 0.5, "epoch_s": seconds}, "c", "d")
            self.director.on_event(Event(task.number, report))
        self.director.on_event(Event(task.number, TrialEnd(outcome=TrialOutcome("complete", 1, 0.5, {}))))
        return True


def sweep(results: Path, **changes: object) -> SweepFolder:
    settled = {"name": "toy", "data": Path("/data"), "fingerprints": {}, "trials": 8, "tracking_uri": ""}
    return create_sweep(results, SweepConfig.model_validate(settled | changes), load_text(results, SMALL))


def test_hours_count_on_over_a_crash_and_end_the_asking(tmp_path: Path) -> None:
    folder = sweep(tmp_path, budget={"hours": 1})
    first = Driver(folder)
    assert first.train_one(1000)
    first.study.close()  # as a crash does, and hours pass before the resume

    second = Driver(folder)
    second.now += 500
    assert second.train_one(700)
    assert seconds_run(second.study.trials()) == 2000 + 500 + 1400
    assert not second.train_one(1)
    assert end_of(load_settings(folder), second.study.trials()) == "its 1 hours (1.08 used)"
    second.study.close()


def test_gpu_hours_are_recorded_at_the_fraction_in_use(tmp_path: Path) -> None:
    folder = sweep(tmp_path, budget={"gpu_hours": 1}, resources={"gpus_per_trial": 0.5})
    driver = Driver(folder)
    with closing(driver.study) as study:
        assert driver.train_one(3000)
        assert gpu_seconds(study.trials()) == 3000
        assert driver.train_one(600)
        assert not driver.train_one(600)


@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_a_space_that_is_used_up_ends_the_sweep(tmp_path: Path, sampler: str) -> None:
    driver = Driver(sweep(tmp_path, sampler=sampler))
    with closing(driver.study) as study:
        assert [driver.train_one(1) for _ in range(4)] == [True] * 3 + [False]
        assert driver.director.exhausted
        assert not driver.director.wants_to_stop(), "it ended, nobody stopped it"
        assert len({str(trial.config["encoder"]) for trial in study.trials()}) == 3
