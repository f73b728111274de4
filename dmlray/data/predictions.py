"""The best K labels of every video with their scores: what a finished trial leaves for the ensemble.

One Arrow IPC file with the columns id, labels fixed_size_list<int32>[K], scores fixed_size_list<float32>[K] and truth
list<int64>; a CRC32C over its content, ``classes`` and ``meta`` stand in the schema's metadata.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from crc32c import crc32c
from numpy.typing import NDArray

from dmlray.atomic import atomic_path
from dmlray.data.blocks import first_line
from dmlray.data.ragged import Ragged
from dmlray.errors import StorageError

_FORMAT = "dmlray-predictions-1"


@dataclass(frozen=True)
class Predictions:
    """Of N videos in dataset order: ids (N,) str; labels (N, K) int32 classes by descending score; scores (N, K)
    float32 probabilities; truth, their true labels.

    ``meta`` names where they come from: sweep, trial, split, the dataset's fingerprint, the checkpoint's digest.
    """

    ids: NDArray[np.object_]
    labels: NDArray[np.int32]
    scores: NDArray[np.float32]
    truth: Ragged
    classes: int
    meta: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Write whole or not at all. Raises ValueError when the predictions contradict themselves."""
    if problem := _problem(predictions):
        raise ValueError(f"predictions {problem}")
    columns = {
        "id": pa.array(list(predictions.ids), pa.string()),
        "labels": _fixed_lists(predictions.labels.astype(np.int32)),
        "scores": _fixed_lists(predictions.scores.astype(np.float32)),
        "truth": pa.ListArray.from_arrays(
            pa.array(predictions.truth.offsets.astype(np.int32)), pa.array(predictions.truth.values, pa.int64())
        ),
    }
    described = {"classes": str(predictions.classes), "meta": json.dumps(dict(predictions.meta), sort_keys=True)}
    batch = pa.record_batch(columns)
    checksum = str(_checksum(batch, described["classes"], described["meta"]))
    schema = batch.schema.with_metadata({"format": _FORMAT, **described, "crc32c": checksum})
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        writer.write_batch(batch.replace_schema_metadata(schema.metadata))


def load_predictions(path: Path) -> Predictions:
    """Map a file that ``save_predictions`` wrote; labels and scores stay views of the map.

    Raises StorageError naming the file when it is missing, damaged, or holds what no model gives (a NaN, a class out
    of range).
    """
    try:
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
            batch = reader.get_batch(0)
        batch.validate(full=True)
        predictions = _read(batch)
    except FileNotFoundError as error:
        raise StorageError(path, "is missing") from error
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise StorageError(path, f"is not a whole file of predictions ({first_line(error)})") from error
    if problem := _problem(predictions):
        raise StorageError(path, problem)
    return predictions


def prediction_files(path: Path) -> list[Path]:
    """``path`` if it is a file; the files of predictions that `dmlray predict` has left if it is a folder, in order."""
    return [path] if path.is_file() else sorted(path.glob("part-*.arrow"))


def _read(batch: pa.RecordBatch) -> Predictions:
    metadata = {key.decode(): value.decode() for key, value in (batch.schema.metadata or {}).items()}
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"format is {metadata.get('format')}, not {_FORMAT}")
    if _checksum(batch, metadata["classes"], metadata["meta"]) != int(metadata["crc32c"]):
        raise ValueError("its CRC32C does not fit its content")
    truth = batch.column("truth")
    return Predictions(
        ids=batch.column("id").to_numpy(zero_copy_only=False),
        labels=_rows(batch.column("labels"), np.dtype(np.int32)),
        scores=_rows(batch.column("scores"), np.dtype(np.float32)),
        truth=Ragged(truth.offsets.to_numpy().astype(np.int64), truth.values.to_numpy()),
        classes=int(metadata["classes"]),
        meta=json.loads(metadata["meta"]),
    )


def _problem(predictions: Predictions) -> str | None:
    """What contradicts itself, None when nothing does."""
    labels, scores = predictions.labels, predictions.scores
    if labels.shape != scores.shape or labels.ndim != 2 or len(labels) != len(predictions):
        return f"hold {len(predictions)} ids, labels {labels.shape} and scores {scores.shape}, which do not fit"
    if not ((scores >= 0) & (scores <= 1)).all():  # False for a NaN
        return "have scores that are not in 0 to 1"
    if (scores[:, 1:] > scores[:, :-1]).any():
        return "have scores that do not descend"
    if labels.size and (labels.min() < 0 or labels.max() >= predictions.classes):
        return f"have labels outside 0 to {predictions.classes - 1}"
    if problem := predictions.truth.problem(len(predictions), predictions.classes):
        return f"have a truth that {problem}"
    return None


def _fixed_lists(rows: NDArray[Any]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(rows).reshape(-1)), rows.shape[1])


def _rows(column: pa.Array, dtype: np.dtype[Any]) -> NDArray[Any]:
    """A fixed-size list column as (N, K), a view."""
    values: NDArray[Any] = column.values.to_numpy(zero_copy_only=True)
    if values.dtype != dtype:
        raise TypeError(f"a column holds {values.dtype}, not {dtype}")
    return values.reshape(len(column), column.type.list_size)


def _checksum(batch: pa.RecordBatch, *described: str) -> int:
    crc = crc32c("\0".join(described).encode())
    for name in ("id", "labels", "scores", "truth"):
        for buffer in batch.column(name).buffers():
            if buffer is not None:
                crc = crc32c(buffer, crc)
    return int(crc)
