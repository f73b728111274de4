"""A process, told apart from any other that ever had its id."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_PROC = Path("/proc")

Fate = Literal["alive", "dead", "unknown"]


@dataclass(frozen=True)
class Process:
    """``place`` is the kernel's boot and the process id namespace, ``ticks`` the process's start in that boot."""

    pid: int
    place: str
    ticks: int

    @classmethod
    def this(cls) -> "Process":
        """The process that asks."""
        return cls(os.getpid(), _place(), _start_ticks(os.getpid()) or 0)

    def fate(self) -> Fate:
        """Whether it still is: unknown from another machine, another container, or where /proc is not."""
        if not self.place or self.place != _place():
            return "unknown"
        return "alive" if _start_ticks(self.pid) == self.ticks else "dead"


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
