"""One toy sweep in a folder of its own, run again and again until it is done, and what was seen of it."""

import json
import shutil
import signal
import time
import warnings
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dmlray.sweep.records import TrialRecord
from dmlray.sweep.study import Study
from tests.data.videos import VIDEO
from tests.faults.oracle import Event
from tests.faults.plan import Fault, Plan
from tests.faults.runs import Answer, Driver, Start
from tests.train.trials import write_data

NAME = "toy"
TRIALS = 6
EPOCHS = 3
STEPS = 3  # of an epoch: 48 videos in batches of 16
SPACE = f"""\
trials: {TRIALS}
stopping: {{rule: asha, min_epochs: 1, eta: 2}}
space:
  epochs: {EPOCHS}
  batch_size: 16
  head: {{kind: logistic, dropout: {{float: [0.0, 0.4]}}}}
  optimizer: {{kind: adam, learning_rate: {{float: [1e-3, 3e-1], log: true}}}}
"""


@dataclass(frozen=True)
class Toys:
    """What every sandbox begins with, made once: data, and an MLflow store whose tables exist."""

    data: Path
    mlflow: Path

    @classmethod
    def make(cls, folder: Path) -> "Toys":
        from dmlray.tracking import Tracker, default_uri

        folder.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SQLAlchemy's, of MLflow's models
            Tracker(default_uri(folder), "dmlray").sync([])
        return cls(write_data(folder / "data", VIDEO), folder / "mlflow.db")


@dataclass(frozen=True)
class Look:
    """What the study held when a driver had ended, and how many events the oracle had seen by then."""

    events: int
    finished: frozenset[int]
    epochs: Mapping[int, int]


@dataclass
class Sandbox:
    """``folder/results/toy`` is the sweep. ``looks`` has one entry for each driver that ended."""

    folder: Path
    toys: Toys
    start: Start
    space: str = SPACE
    tracking: str | None = None
    looks: list[Look] = field(default_factory=list)
    is_behind: bool = False  # MLflow, as the last driver said: it gives a slow server a second at its end

    def __post_init__(self) -> None:
        (self.folder / "results").mkdir(parents=True)
        self.space_file.write_text(self.space)
        if self.tracking is None:
            shutil.copy(self.toys.mlflow, self.folder / "results/mlflow.db")

    @property
    def space_file(self) -> Path:
        return self.folder / "space.yaml"

    @property
    def sweep(self) -> Path:
        return self.folder / "results" / NAME

    @property
    def study_file(self) -> Path:
        return self.sweep / "study.db"

    def plan(self, *faults: Fault, step_s: float = 0.0) -> Plan:
        """Faults are told apart by their order in the plan, so a later run with others gets a folder of its own."""
        folder = self.folder / f"plan-{len(list(self.folder.glob('plan-*')))}"
        folder.mkdir()
        (self.folder / "oracle.jsonl").touch()
        (folder / "oracle.jsonl").symlink_to(self.folder / "oracle.jsonl")
        return Plan(folder, faults, step_s)

    def begin(self, *faults: Fault, step_s: float = 0.0, options: tuple[str, ...] = (), **environment: str) -> Driver:
        """Start the sweep."""
        words = ["search", "--data", str(self.toys.data), "--space", "space.yaml", "--name", NAME, "--concurrency", "1"]
        tracking = ["--tracking-uri", self.tracking] if self.tracking else []
        return self.start(self.folder, self.plan(*faults, step_s=step_s), [*words, *tracking, *options], environment)

    def resume(self, *faults: Fault, step_s: float = 0.0, options: tuple[str, ...] = (), **environment: str) -> Driver:
        """Go on with it."""
        words = ["search", "--resume", NAME, *options]
        return self.start(self.folder, self.plan(*faults, step_s=step_s), words, environment)

    def ended(self, driver: Driver, code: int | None = None, timeout_s: float = 120) -> Answer:
        """Wait for a driver and look at the study; ``code`` None expects death by SIGKILL."""
        answer = driver.finish(timeout_s)
        assert answer.code == (-signal.SIGKILL if code is None else code), f"exit {answer.code}: {answer.err}"
        assert "Traceback" not in answer.err, answer.err
        if code:
            assert answer.cause
        self.is_behind = "not up to date in MLflow" in answer.err
        self.look()
        return answer

    def look(self) -> None:
        """Note what the study holds now."""
        records = self.trials() if self.study_file.exists() else []
        self.looks.append(
            Look(
                events=len(self.events()),
                finished=frozenset(record.number for record in records if record.state.is_finished),
                epochs={record.number: len(record.curve) for record in records},
            )
        )

    def kill_at(self, *faults: Fault, step_s: float = 0.0) -> None:
        """Begin, and die of one of ``faults``."""
        self.ended(self.begin(*faults, step_s=step_s))

    def finish(self) -> Answer:
        """Resume to the end."""
        return self.ended(self.resume(), code=0)

    def agree(self) -> None:
        """Let `dmlray fsck --repair` send MLflow what a driver had no time for; then it must find nothing."""
        answer = self.start(self.folder, self.plan(), ["fsck", NAME, "--repair"], {}).finish()
        assert answer.code == 0, answer.out + answer.err
        self.is_behind = False

    def events(self, *kinds: str) -> list[Event]:
        """What the oracle saw, of some kinds."""
        events = self.plan_oracle()
        return [event for event in events if event["what"] in kinds] if kinds else events

    def plan_oracle(self) -> list[Event]:
        path = self.folder / "oracle.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_for(self, kind: str, timeout_s: float = 240, **details: Any) -> Event:
        """The first event of a kind with these details."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for event in self.events(kind):
                if all(event.get(key) == value for key, value in details.items()):
                    return event
            time.sleep(0.01)
        raise TimeoutError(f"no {kind} {details} in {self.events()}")

    def trials(self) -> list[TrialRecord]:
        """The study's."""
        with closing(Study.open(self.study_file, read_only=True)) as study:
            return study.trials()
