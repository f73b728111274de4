"""What goes wrong in a run, where, and how often. A plan travels with the runner to every process of a sweep."""

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dmlray import failpoints
from tests.faults.oracle import Oracle

COMMITS = {"after-report": "reported", "after-tell": "committed", "after-start": "handed-out"}  # of the driver


@dataclass(frozen=True)
class Fault:
    """``do`` (see ACTIONS) at place ``at`` where it tells ``where``; the first ``times`` times, over all processes."""

    at: str
    do: str
    where: Mapping[str, int] = field(default_factory=dict)
    times: int = 1


@dataclass(frozen=True)
class Plan:
    """``folder`` holds the oracle's file and a mark for each fault that happened; a step takes ``step_s`` longer."""

    folder: Path
    faults: tuple[Fault, ...] = ()
    step_s: float = 0.0

    @property
    def oracle(self) -> Oracle:
        return Oracle(self.folder / "oracle.jsonl")

    def in_driver(self, place: str, **details: Any) -> None:
        """Observes the driver's failpoints."""
        self._strike(place, details)
        if place in COMMITS:
            self.oracle.write(COMMITS[place], **details)

    def in_worker(self, place: str, **details: Any) -> None:
        """Observes those of a worker."""
        if place == "step":
            self.oracle.write("step", **details)
            time.sleep(self.step_s)
        self._strike(place, details)

    def _strike(self, place: str, details: dict[str, Any]) -> None:
        for number, fault in enumerate(self.faults):
            fits = place == fault.at and all(details.get(key) == value for key, value in fault.where.items())
            if fits and any(self._mark(number, time) for time in range(fault.times)):
                self.oracle.write("fault", place=place, do=fault.do, **details)
                ACTIONS[fault.do]({**details, "sandbox": self.folder.parent})

    def _mark(self, number: int, time: int) -> bool:
        try:
            (self.folder / f"fault-{number}-{time}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


@dataclass(frozen=True)
class ObservedRunner:
    """A runner of trials whose steps the plan watches and disturbs."""

    plan: Plan
    runner: Callable[..., Any]

    def __call__(self, task: Any, *rest: Any, **options: Any) -> Any:
        oracle = self.plan.oracle
        oracle.write("start", trial=task.number, checkpoint=task.checkpoint)
        failpoints.observe(lambda place, **details: self.plan.in_worker(place, trial=task.number, **details))
        outcome = self.runner(task, *rest, **options)
        oracle.write("finish", trial=task.number, status=outcome.status)
        return outcome


def signal_itself(number: int) -> Callable[[dict[str, Any]], None]:
    return lambda _: os.kill(os.getpid(), number)


def hang(_: dict[str, Any]) -> None:
    while True:
        time.sleep(1)


def hang_deafly(details: dict[str, Any]) -> None:
    """As compiled code does: no handler of Python's ever runs."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    hang(details)


def cut_and_die(details: dict[str, Any]) -> None:
    """The file that is being written is half there."""
    os.truncate(details["path"], details["path"].stat().st_size // 2)
    os.kill(os.getpid(), signal.SIGKILL)


def break_training(_: dict[str, Any]) -> None:
    raise RuntimeError("poisoned")


def exhaust_memory(_: dict[str, Any]) -> None:
    """More than the process may have."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 64 * 2**20, before[1]))
    try:
        bytearray(2**30)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def exhaust_gpu(_: dict[str, Any]) -> None:
    """What a GPU without memory raises."""
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def leave_an_orphan(_: dict[str, Any]) -> None:
    """A child that the process does not wait for, as data loaders have; then it dies."""
    if os.fork() == 0:
        time.sleep(600)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


def fill_disk(details: dict[str, Any]) -> None:
    """Nothing more fits on the file system of the results."""
    with suppress(OSError), (details["sandbox"] / "results/filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(512))


def remove_sweep(details: dict[str, Any]) -> None:
    """Somebody cleans up."""
    shutil.rmtree(details["sandbox"] / "results/toy")


def move_clock(seconds: int) -> Callable[[dict[str, Any]], None]:
    """Where `clock.c` is loaded, the wall clock jumps."""
    return lambda _: os.environ.__setitem__("FAULTS_CLOCK", str(seconds))


ACTIONS: dict[str, Callable[[dict[str, Any]], None]] = {
    "kill": signal_itself(signal.SIGKILL),
    "stop": signal_itself(signal.SIGSTOP),
    "interrupt": signal_itself(signal.SIGINT),
    "terminate": signal_itself(signal.SIGTERM),
    "hang": hang,
    "hang-deafly": hang_deafly,
    "cut": cut_and_die,
    "break": break_training,
    "exhaust-memory": exhaust_memory,
    "exhaust-gpu": exhaust_gpu,
    "orphan": leave_an_orphan,
    "fill-disk": fill_disk,
    "remove-sweep": remove_sweep,
    "clock-forward": move_clock(3600),
    "clock-back": move_clock(-3600),
}
