"""What the tracking server holds of a run, and what it therefore still lacks. Imports no MLflow."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dmlray.tracking.record import DatasetRecord, RunRecord

PARAM_LENGTH, TAG_LENGTH, _DIGEST_LENGTH = 6000, 8000, 36  # MLflow's limits, in characters


class Value(NamedTuple):
    """One point of a metric's curve; ``time_ms`` is since 1970."""

    name: str
    value: float
    time_ms: int
    step: int


@dataclass
class KnownRun:
    """``metrics``: the (name, step) pairs that have a value; ``artifacts``: time and size of files that were sent;
    ``datasets`` by name and digest; ``models``: ids of what the run ended with.
    """

    run_id: str
    start_time_ms: int
    status: str
    end_time_ms: int | None
    tags: dict[str, str]
    params: set[str]
    metrics: set[tuple[str, int]]
    artifacts: dict[Path, tuple[int, int]] = field(default_factory=dict)
    datasets: set[tuple[str, str]] = field(default_factory=set)
    models: list[str] = field(default_factory=list)

    def new_tags(self, wanted: dict[str, str]) -> dict[str, str]:
        """Tags that are missing or differ, cut to MLflow's limit."""
        cut = {name: value[:TAG_LENGTH] for name, value in wanted.items()}
        return {name: value for name, value in cut.items() if self.tags.get(name) != value}

    def new_params(self, record: RunRecord) -> dict[str, str]:
        """Params that are missing, cut to MLflow's limit."""
        return {name: str(value)[:PARAM_LENGTH] for name, value in record.params.items() if name not in self.params}

    def new_metrics(self, record: RunRecord) -> list[Value]:
        """Values of (name, step) pairs that have none.

        A value's time is the run's start plus its step: sent twice, even by a request that was given up but arrived,
        it is the same row to MLflow.
        """
        new: dict[tuple[str, int], Value] = {}
        for step, values in record.metrics:
            for name, value in values.items():
                if (name, step) not in self.metrics:
                    new.setdefault((name, step), Value(name, float(value), self.start_time_ms + step, step))
        return list(new.values())

    def new_artifacts(self, record: RunRecord) -> list[Path]:
        """Files that were not sent from here, or have changed since. Raises FileNotFoundError for one that is gone."""
        return [path for path in record.artifacts if self.artifacts.get(path) != stamp(path)]

    def new_datasets(self, record: RunRecord) -> list[DatasetRecord]:
        """Data sets that the run is not known to have read."""
        return [dataset for dataset in record.datasets if (dataset.name, digest_of(dataset)) not in self.datasets]


def digest_of(dataset: DatasetRecord) -> str:
    """Its digest, cut to MLflow's limit."""
    return dataset.digest[:_DIGEST_LENGTH]


def stamp(path: Path) -> tuple[int, int]:
    """When a file was written, in ns, and its size in bytes."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size
