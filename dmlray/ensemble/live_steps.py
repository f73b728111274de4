"""What has become of the ensemble of a running sweep, trial by trial. Light: `dmlray status` reads it."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from dmlray.config import Config

LIVE_FILE = "live_ensemble.json"


class LiveStep(Config):
    """After trial ``trial`` had finished: the members with their picks, and GAP on videos that no choice saw."""

    trial: int
    picks: dict[int, int]
    gap: float
    changed: bool


def describe_live(steps: Sequence[LiveStep]) -> str:
    """The last step in words, with the trial that made the ensemble what it is."""
    last = steps[-1]
    by = next(step.trial for step in reversed(steps) if step.changed)
    members = ", ".join(str(trial) for trial in sorted(last.picks))
    return f"GAP {last.gap:.4f} of trials {members}; trial {by} changed it last"


def read_live(path: Path) -> list[LiveStep]:
    """The steps so far; none where there is no file, or one that another version wrote."""
    try:
        return [LiveStep.model_validate(step) for step in json.loads(path.read_text())]
    except (OSError, ValueError, TypeError, ValidationError):
        return []
