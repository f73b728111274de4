"""Who drives a sweep, as the lease in its study says."""

import json
import platform
from dataclasses import asdict, dataclass
from datetime import datetime

from dmlray.process import Fate, Process


@dataclass(frozen=True)
class Holder:
    """A process on ``host``, which ``pid``, ``place`` and ``ticks`` tell apart as `Process` does.

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
        process = Process.this()
        return cls(platform.node(), process.pid, since, process.place, process.ticks)

    @classmethod
    def parse(cls, text: str) -> "Holder":
        """What ``to_json`` wrote. Raises ValueError or TypeError for anything else."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """One line for the store."""
        return json.dumps(asdict(self))

    def fate(self) -> Fate:
        """Whether the process still is; unknown from another machine or container."""
        return Process(self.pid, self.place, self.ticks).fate()

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"
