"""A witness outside dmlray's own state: what processes did, in the order they did it, whatever the study says."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Event = dict[str, Any]


@dataclass(frozen=True)
class Oracle:
    """An append-only file that many processes write, one JSON line per event."""

    path: Path

    def write(self, what: str, **details: object) -> None:
        """Add an event; it is on the disk when this returns."""
        where = {"pid": os.getpid(), "host": os.uname().nodename}
        line = json.dumps({"what": what, **where, **details}, default=str) + "\n"
        descriptor = os.open(self.path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def events(self) -> list[Event]:
        """All of them so far."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_text().splitlines()]
