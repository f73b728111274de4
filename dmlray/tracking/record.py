"""What a run is to hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class DatasetRecord:
    """A data set that a run reads as its ``context``: train, validation, test.

    ``columns`` by name in MLflow's words, such as {"type": "long"}; ``profile`` says more, the number of videos first.
    """

    context: str
    name: str
    digest: str
    uri: str  # a path, or an address
    columns: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    profile: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelRecord:
    """The model that a run ends with: what is known of it, not its parameters' bytes.

    ``metrics`` by context of a data set: (step, {name: value}), each a point of the run's own curves.
    """

    name: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    step: int
    metrics: Mapping[str, tuple[int, Mapping[str, float]]]


@dataclass(frozen=True)
class RunRecord:
    """Everything that a run is to hold. ``key`` identifies it for ever; ``parent_key`` nests it under another.

    ``metrics``: (step, {name: value}) pairs; a name holds one value per step, the first that was sent. ``params``,
    ``datasets`` and ``model`` do not change once sent, tags and artifacts may; an artifact that is a folder is sent
    under its name. ``members`` are the keys of runs whose models this one uses. Times are milliseconds since 1970.
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
    datasets: Sequence[DatasetRecord] = ()
    model: ModelRecord | None = None
    members: Sequence[str] = ()
