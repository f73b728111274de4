"""Trials through real Ray Tune and Ray Train, with a scripted director and a training function of a few lines."""

import os
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from ray import tune
from ray.util import placement_group_table

from dmlray.config import TrialConfig
from dmlray.errors import TrainingError
from dmlray.sweep import tuner
from dmlray.sweep.slot import SlotSettings
from dmlray.sweep.tuner import run_trials
from dmlray.train.channel import Event, TrialEnd
from dmlray.train.distributed import Peers
from dmlray.train.limits import Watch
from dmlray.train.task import EpochReport, Limits, TrialOutcome, TrialTask
from dmlray.train.worker import Report

EPOCHS, PRUNED, NAN, KILLED, BROKEN, HUNG = 3, 1, 2, 3, 4, 5


@dataclass
class ScriptedDirector:
    """Hands out ``trials`` trials, prunes one at its second epoch, writes down what it hears."""

    folder: Path
    trials: int
    given: int = 0
    epochs: dict[int, list[int]] = field(default_factory=dict)
    ends: dict[int, TrialEnd] = field(default_factory=dict)
    lost: list[int] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)

    def next_task(self) -> TrialTask | None:
        if self.given == self.trials:
            return None
        self.given += 1
        limits = Limits(stall_s=1.0, grace_s=2.0) if self.given - 1 == HUNG else Limits()
        folder = self.folder / str(self.given - 1)
        return TrialTask("scripted", self.given - 1, TrialConfig(), folder, folder, seed=0, limits=limits)

    def on_event(self, event: Event) -> bool:
        if isinstance(event.what, TrialEnd):
            self.ends[event.number] = event.what
            return False
        self.epochs.setdefault(event.number, []).append(event.what.epoch)
        return not (event.number == PRUNED and event.what.epoch == 2)

    def on_lost(self, number: int, cause: str, reason: str = "worker_lost") -> None:
        self.lost.append(number)
        self.causes.append(cause)

    def wants_to_stop(self) -> bool:
        return False


def train(task: TrialTask, report: Report, device: torch.device, *, peers: Peers, watch: Watch) -> TrialOutcome:
    """Reports its epochs; four trials go wrong in their own way at epoch 2. Leaves its process id behind."""
    done = int(task.checkpoint) if task.checkpoint else 0
    task.directory.mkdir(exist_ok=True)
    with (task.directory.parent / "pids").open("a") as pids:
        pids.write(f"{os.getpid()}\n")
    for epoch in range(done + 1, EPOCHS + 1):
        if epoch == 2 and task.number == NAN:
            raise TrainingError("nan", "the loss is nan", epoch=2, step=7)
        if epoch == 2 and task.number == BROKEN:
            raise RuntimeError("out of luck")
        if epoch == 2 and task.number == KILLED and not (task.directory / "killed").exists():
            (task.directory / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if epoch == 2 and task.number == HUNG:
            threading.Event().wait()  # deaf to SIGTERM too, were it sent
        if not report(EpochReport(epoch, {"val_gap": 0.1 * epoch}, str(epoch), "")):
            return TrialOutcome("stopped", epoch, 0.0, {})
    return TrialOutcome("complete", EPOCHS, 0.3, {})


@pytest.mark.ray
def test_a_warm_slot_trains_trial_after_trial(ray_session: None, tmp_path: Path) -> None:
    director = ScriptedDirector(tmp_path, trials=8)
    run_trials(director, SlotSettings(cpus=1, gpus=0, runner=train, scratch=tmp_path / "ray"), concurrency=1)

    created = [group for group in placement_group_table().values() if group["state"] == "CREATED"]
    assert created == [], "the next sweep on this cluster finds every CPU free"
    assert director.lost == []
    assert director.epochs[PRUNED] == [1, 2]
    assert PRUNED not in director.ends
    assert (director.ends[NAN].reason, director.ends[NAN].message) == ("nan", "epoch 2, step 7: the loss is nan")
    assert director.ends[BROKEN].reason == "error"
    assert "RuntimeError: out of luck" in (director.ends[BROKEN].message or "")
    assert director.epochs[HUNG] == [1]
    assert director.ends[HUNG].reason == "hang"
    assert "wait" in (tmp_path / str(HUNG) / "error.txt").read_text(), "it tells where"
    for number in {0, KILLED, 6, 7}:
        assert director.epochs[number] == [1, 2, 3], "each epoch once, also where the worker was killed"
        assert director.ends[number].outcome is not None
    assert len(set((tmp_path / "pids").read_text().split())) == 4, "one worker process, and one more after each death"


class Broken(tune.Trainable):
    """A slot that cannot start, as where a node has not what the others have."""

    def setup(self, config: dict[str, object]) -> None:
        raise RuntimeError("no such library")


@pytest.mark.ray
def test_a_slot_that_cannot_start_says_why(ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuner, "Slot", Broken)
    director = ScriptedDirector(tmp_path, trials=1)
    run_trials(director, SlotSettings(cpus=1, gpus=0, runner=train, scratch=tmp_path / "ray"), concurrency=1)
    assert director.lost == [0]
    assert director.causes == ["RuntimeError: no such library"]
