"""Stored predictions of the training videos, as targets to distil from."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dmlray.config import DistillationConfig
from dmlray.data.predictions import load_predictions
from dmlray.errors import ConfigError, DataError
from dmlray.train.loss import Targets

_LEAST, _MOST = 1e-6, 1 - 1e-6  # probabilities whose log-odds are softened; beyond them float32 has few digits


class Teacher:
    """The predictions of ``config``; classes that a video's store lacks have the target 0.

    Labels and scores stay in the mapped file; of a million videos the ids take about 20 MB. Raises ConfigError when
    they are of another number of classes, StorageError when the file is missing or damaged.
    """

    def __init__(self, config: DistillationConfig, classes: int) -> None:
        self._path, self._temperature = Path(config.predictions), config.temperature
        stored = load_predictions(self._path)
        if stored.classes != classes:
            expected = f"predictions of the data's {classes} classes, not of {stored.classes}"
            raise ConfigError("loss.distillation.predictions", config.predictions, expected)
        self._labels, self._scores = stored.labels, stored.scores
        ids = _encoded(stored.ids.tolist())
        self._order = np.argsort(ids)
        self._ids = ids[self._order]

    def targets(self, ids: Sequence[str], device: torch.device) -> Targets:
        """Softened probabilities: sigmoid(log-odds / temperature). Raises DataError naming a video without any."""
        rows = self._rows(ids)
        scores = torch.from_numpy(self._scores[rows])
        if self._temperature != 1.0:
            scores = (scores.clamp(_LEAST, _MOST).logit() / self._temperature).sigmoid()
        return Targets(torch.from_numpy(self._labels[rows].astype(np.int64)).to(device), scores.to(device))

    def _rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        wanted = _encoded(ids)
        places = np.searchsorted(self._ids, wanted).clip(max=max(0, len(self._ids) - 1))
        known = self._ids[places] == wanted if len(self._ids) else np.zeros(len(ids), dtype=bool)
        if not known.all():
            missing = ids[int(np.argmin(known))]
            problem = f"holds no prediction of the training video {missing!r}; distillation needs one of every video"
            raise DataError(self._path, problem)
        rows: NDArray[np.int64] = self._order[places]
        return rows


def _encoded(ids: Sequence[str]) -> NDArray[np.bytes_]:
    return np.array([name.encode() for name in ids], dtype=np.bytes_)
