"""Two workers of Ray Train in one slot; that they train what one trains, `tests/train/test_distributed.py` shows."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from dmlray.sweep.slot import SlotSettings
from dmlray.sweep.tuner import run_trials
from dmlray.train.channel import Event, TrialEnd
from dmlray.train.task import EpochReport, TrialTask
from dmlray.train.trial import run_trial
from tests.data.videos import FRAME
from tests.train.test_distributed import CONFIG, NAN
from tests.train.trials import Ran, make_task, run, write_data


@dataclass
class Director:
    """Hands out the tasks in order, and hears."""

    tasks: list[TrialTask]
    reports: dict[int, list[EpochReport]] = field(default_factory=dict)
    ends: dict[int, TrialEnd] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def next_task(self) -> TrialTask | None:
        return self.tasks.pop(0) if self.tasks else None

    def on_event(self, event: Event) -> bool:
        if isinstance(event.what, TrialEnd):
            self.ends[event.number] = event.what
            return False
        self.reports.setdefault(event.number, []).append(event.what)
        return True

    def on_lost(self, number: int, cause: str, reason: str = "worker_lost") -> None:
        self.lost.append(cause)

    def wants_to_stop(self) -> bool:
        return False


@pytest.mark.ray
def test_two_workers_of_a_slot_train_trial_after_trial(ray_session: None, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", FRAME)
    alone: Ran = run(make_task(data, tmp_path / "alone", CONFIG))
    failing = make_task(data, tmp_path / "nan", NAN)
    good = replace(make_task(data, tmp_path / "together", CONFIG), number=1)
    director = Director([failing, good])
    slot = SlotSettings(cpus=2, gpus=0, runner=run_trial, scratch=tmp_path / "ray", workers=2)
    run_trials(director, slot, concurrency=1)
    assert director.lost == []
    assert director.ends[0].reason == "nan", director.ends[0].message
    outcome = director.ends[1].outcome
    assert outcome is not None, director.ends[1].message
    together = Ran(good, outcome, director.reports[1])
    for found, wanted in zip(together.curve(), alone.curve(), strict=True):
        assert found == pytest.approx(wanted, rel=1e-4)
    assert outcome.metrics == pytest.approx(alone.outcome.metrics, rel=1e-4)
