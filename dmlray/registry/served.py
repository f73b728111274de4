"""A package behind MLflow's pyfunc interface: raw features in, the best labels out. Imports no MLflow.

MLflow loads a model by calling ``_load_pyfunc`` of the module that the model names, with the folder of its data: no
pickle and no code travels with the model, only the package.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dmlray.data.columns import VideoBlock
from dmlray.data.schema import Modality, Schema
from dmlray.ensemble.scoring import best_device
from dmlray.errors import DataError
from dmlray.metrics.top import top_k
from dmlray.registry.package import Package, load_package

if TYPE_CHECKING:
    import pandas as pd

TOP = 20  # labels of a video, unless the request says otherwise


def _load_pyfunc(data_path: str) -> "ServedEnsemble":
    return ServedEnsemble(load_package(data_path).to(best_device()))


class ServedEnsemble:
    """What MLflow calls: one video a row, one column for each modality."""

    def __init__(self, package: Package) -> None:
        self._package = package

    def predict(self, features: "pd.DataFrame", params: Mapping[str, Any] | None = None) -> "pd.DataFrame":
        """The ``top`` best ``labels`` of each video, their ``scores``, and their ``names`` if there is a vocabulary.

        A cell holds a video's vector (D numbers), or the list of its frames (T lists of D whole numbers, 0 to 255).
        Raises DataError where a cell does not.
        """
        import pandas as pd

        block = block_of({name: list(features[name]) for name in features.columns}, self._package.schema)
        labels, scores = top_k(self._package.predict(block), int((params or {}).get("top", TOP)))
        answers = {"labels": labels.tolist(), "scores": scores.tolist()}
        if (names := self._package.vocabulary) is not None:
            answers["names"] = [[names[label] for label in row] for row in answers["labels"]]
        return pd.DataFrame(answers)


def block_of(columns: Mapping[str, Sequence[Any]], schema: Schema) -> VideoBlock:
    """Videos from the cells of each modality's column, numbered by row. Raises DataError naming column and row."""
    missing = [modality.name for modality in schema.modalities if modality.name not in columns]
    if missing:
        raise DataError("the request", f"column {missing[0]!r} is missing, found {', '.join(columns) or 'none'}")
    videos = {
        m.name: [_video(cell, m, schema, row) for row, cell in enumerate(columns[m.name])] for m in schema.modalities
    }
    first = videos[schema.modalities[0].name]
    lengths = [len(frames) for frames in first]
    for name, others in videos.items():
        for row, frames in enumerate(others):
            if len(frames) != lengths[row]:
                raise DataError("the request", f"column {name!r} has {len(frames)} frames, not {lengths[row]}", row)
    return VideoBlock(
        ids=[str(row) for row in range(len(first))],
        label_offsets=np.zeros(len(first) + 1, np.int64),
        label_values=np.empty(0, np.int64),
        features={name: np.concatenate(frames) for name, frames in videos.items()},
        frame_offsets=np.cumsum([0, *lengths]) if schema.level == "frame" else None,
    )


def _video(cell: Any, modality: Modality, schema: Schema, row: int) -> NDArray[Any]:
    """A cell as (T, D), T = 1 for a vector."""
    is_frames = schema.level == "frame"
    wanted = (
        f"a list of frames of {modality.width} whole numbers from 0 to 255"
        if is_frames
        else f"{modality.width} numbers"
    )
    try:
        values = np.array([np.asarray(frame) for frame in cell] if is_frames else [cell], np.float64)
    except (TypeError, ValueError) as error:
        raise DataError("the request", f"column {modality.name!r} must hold {wanted}", row) from error
    fits = values.ndim == 2 and values.shape[0] > 0 and values.shape[1] == modality.width and np.isfinite(values).all()
    if not fits or (is_frames and ((values < 0) | (values > 255) | (values % 1 != 0)).any()):
        raise DataError("the request", f"column {modality.name!r} must hold {wanted}", row)
    return values.astype(modality.dtype)
