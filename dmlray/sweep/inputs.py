"""The data of a sweep: converted splits, and perhaps a stream to train on."""

from collections.abc import Mapping
from dataclasses import dataclass

from dmlray.data.dataset import Dataset, open_splits
from dmlray.data.schema import Schema
from dmlray.data.stream_source import StreamSource
from dmlray.errors import StorageError
from dmlray.remote import Place, reach
from dmlray.sweep.settings import SweepConfig


@dataclass(frozen=True)
class Inputs:
    """``splits`` holds validation and, where they exist, test and train; no train where there is a ``stream``."""

    splits: Mapping[str, Dataset]
    stream: StreamSource | None

    @property
    def schema(self) -> Schema:
        """Of all of it."""
        return self.splits["validation"].schema

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of each split, ``train`` being the stream's where there is one."""
        streamed = {} if self.stream is None else {"train": self.stream.fingerprint}
        return streamed | {name: dataset.fingerprint for name, dataset in self.splits.items()}


def open_inputs(data: Place, stream: str | None) -> Inputs:
    """Raises as `data.dataset.open_splits` and `data.stream_source.StreamSource.open` do.

    Where nothing answers at the address of ``data`` that is said within 30 s.
    """
    reach(data)
    splits = open_splits(data, train=stream is None)
    return Inputs(splits, None if stream is None else StreamSource.open(stream, splits["validation"].schema))


def check_inputs(config: SweepConfig) -> Inputs:
    """Open the sweep's data; raises StorageError for data that is not what the sweep was started on."""
    inputs = open_inputs(config.data, config.stream)
    found = inputs.fingerprints
    for name, fingerprint in config.fingerprints.items():
        if found.get(name) != fingerprint:
            where = config.stream if name == "train" and config.stream is not None else config.data / name
            raise StorageError(where, f"is not the data that sweep {config.name!r} was started on")
    return inputs
