"""Starting drivers: forked from a nursery and without Ray, or as the user does on a Ray that all rows share."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.faults.plan import Plan

REPOSITORY = Path(__file__).parents[2]
CLEAN = {
    name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "DMLRAY_", "MLFLOW_", "PYTEST_"))
} | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Answer:
    """How a driver ended (minus the signal that killed it) and what it said."""

    code: int
    out: str
    err: str

    @property
    def cause(self) -> str:
        """The sentence that explains a failure; exactly one is allowed."""
        (sentence,) = [line for line in self.err.splitlines() if line.startswith("dmlray: ")]
        return sentence


class Driver(Protocol):
    """A running `dmlray` command."""

    pid: int

    def send(self, number: int) -> None:
        """A signal."""

    def finish(self, timeout_s: float = 240) -> Answer:
        """Wait for its end; raises TimeoutError, after killing it, if there is none."""

    def is_running(self) -> bool:
        """Whether it has not ended yet."""


class Start(Protocol):
    """Starts a driver in ``folder``."""

    def __call__(self, folder: Path, plan: Plan, words: list[str], environment: Mapping[str, str]) -> Driver: ...


class _Files:
    """Where a driver's words, plan and answers go; each run has its own."""

    def __init__(self, plan: Plan) -> None:
        number = len(list(plan.folder.glob("plan-*")))
        self.plan, self.out, self.err = (plan.folder / f"{name}-{number}" for name in ("plan", "out", "err"))
        self.plan.write_bytes(pickle.dumps(plan))

    def answer(self, code: int) -> Answer:
        return Answer(code, self.out.read_text(), self.err.read_text())


class Nursery:
    """Drivers without Ray, see `tests.faults.nursery`."""

    def __init__(self, clock: Path | None = None) -> None:
        self.has_clock = clock is not None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            cwd=REPOSITORY,
            env=CLEAN | ({"LD_PRELOAD": str(clock)} if clock else {}),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __call__(self, folder: Path, plan: Plan, words: list[str], environment: Mapping[str, str]) -> Driver:
        files = _Files(plan)
        request = {"folder": str(folder), "words": words, "environment": dict(environment)}
        request |= {"plan": str(files.plan), "out": str(files.out), "err": str(files.err)}
        return _Forked(self, int(self.ask(request) or 0), files)

    def ask(self, request: dict[str, object]) -> int | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: int | None = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()  # it ends by itself


class _Forked:
    def __init__(self, nursery: Nursery, pid: int, files: _Files) -> None:
        self.pid, self._nursery, self._files = pid, nursery, files
        self._code: int | None = None

    def send(self, number: int) -> None:
        if self.is_running():
            os.kill(self.pid, number)

    def is_running(self) -> bool:
        if self._code is None:
            self._code = self._nursery.ask({"poll": self.pid})
        return self._code is None

    def finish(self, timeout_s: float = 240) -> Answer:
        deadline = time.monotonic() + timeout_s
        while self.is_running():
            if time.monotonic() > deadline:
                os.killpg(self.pid, signal.SIGKILL)
                raise TimeoutError(f"the driver still ran after {timeout_s} s: {self._files.err.read_text()}")
            time.sleep(0.02)
        assert self._code is not None
        return self._files.answer(self._code)


class OnRay:
    """Drivers as the user starts them, on the Ray at ``address`` or, None, on one of their own.

    ``prefix`` goes before the command, as one that lets it run elsewhere.
    """

    def __init__(self, address: str | None, environment: Mapping[str, str], prefix: Sequence[str] = ()) -> None:
        self.address, self.environment, self._prefix = address, environment, prefix

    def __call__(self, folder: Path, plan: Plan, words: list[str], environment: Mapping[str, str]) -> Driver:
        files = _Files(plan)
        address = ["--address", self.address] if self.address and words[0] == "search" else []
        with files.out.open("w") as out, files.err.open("w") as err:
            process = subprocess.Popen(
                [*self._prefix, sys.executable, "-m", "tests.faults.driver", str(files.plan), *words, *address],
                cwd=folder,
                env=CLEAN | dict(self.environment) | {"FAULTS_FOLDER": str(folder)} | dict(environment),
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return _Spawned(process, files)


class _Spawned:
    def __init__(self, process: "subprocess.Popen[bytes]", files: _Files) -> None:
        self.pid, self._process, self._files = process.pid, process, files

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def is_running(self) -> bool:
        return self._process.poll() is None

    def finish(self, timeout_s: float = 240) -> Answer:
        try:
            return self._files.answer(self._process.wait(timeout_s))
        except subprocess.TimeoutExpired as error:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            raise TimeoutError(f"the driver still ran after {timeout_s} s: {self._files.err.read_text()}") from error
