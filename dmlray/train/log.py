"""A trial's ``log.jsonl``: one JSON line per finished epoch, and one per warning, in the order they came."""

import json
import os
from pathlib import Path
from typing import Any

from dmlray.atomic import write_text
from dmlray.errors import StorageError


class TrialLog:
    """Append-only between restarts. A line torn by a kill is dropped when the log is next opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.lines = _read_whole_lines(path)

    def digests(self) -> dict[str, str]:
        """File name to SHA-256 of every checkpoint it tells of."""
        return {line["checkpoint"]: line["digest"] for line in self.lines if "digest" in line}

    def history(self) -> list[tuple[int, float]]:
        """(finished epochs, val_gap), ascending."""
        return [(line["epoch"], line["metrics"]["val_gap"]) for line in self.lines if "metrics" in line]

    def rewind(self, epoch: int) -> None:
        """Drop the epochs after ``epoch``: they will be trained again, and each stands here once."""
        self.lines = [line for line in self.lines if line.get("epoch", 0) <= epoch]
        write_text(self._path, "".join(json.dumps(line) + "\n" for line in self.lines))

    def append(self, **line: Any) -> None:
        """Add a line, on the disk when this returns. Raises StorageError when the disk refuses."""
        self.lines.append(line)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(self._path, f"could not be written: {error.strerror}") from error


def _read_whole_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines
