"""Who drives a sweep: a process, told apart from any other that ever had its id."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

_PROC = Path("/proc")


@dataclass(frozen=True)
class Holder:
    """``place`` is the kernel's boot and the process id namespace, ``ticks`` the process's start in that boot.

    ``since`` is for people only: no decision rests on a wall clock.
    """

    host: str
    pid: int
    since: str
    place: str
    ticks: int

    @classmethod
    def this_process(cls) -> "Holder":
        """The process that asks."""
        since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        return cls(platform.node(), os.getpid(), since, _place(), _start_ticks(os.getpid()) or 0)

    @classmethod
    def parse(cls, text: str) -> "Holder":
        """What ``to_json`` wrote. Raises ValueError or TypeError for anything else."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """One line for the store."""
        return json.dumps(asdict(self))

    def fate(self) -> Literal["alive", "dead", "unknown"]:
        """Whether the process still is: unknown from another machine, another container, or where /proc is not."""
        if not self.place or self.place != _place():
            return "unknown"
        return "alive" if _start_ticks(self.pid) == self.ticks else "dead"

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"


def _place() -> str:
    if not _PROC.is_dir():
        return ""
    boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{(_PROC / 'self/ns/pid').readlink()}"


def _start_ticks(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat (proc(5)); None for a process that is gone or only waits to be reaped."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
