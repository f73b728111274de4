"""What a run is to hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class RunRecord:
    """Everything that a run is to hold. ``key`` identifies it for ever; ``parent_key`` nests it under another.

    ``metrics``: (step, {name: value}) pairs; a name holds one value per step, the first that was sent. ``params`` do
    not change once sent, tags and artifacts may. Times are milliseconds since 1970.
    """

    key: str
    name: str
    status: Literal["running", "finished", "failed", "killed"]
    parent_key: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, object] = field(default_factory=dict)
    metrics: Sequence[tuple[int, Mapping[str, float]]] = ()
    start_time_ms: int | None = None
    end_time_ms: int | None = None
    artifacts: Sequence[Path] = ()
