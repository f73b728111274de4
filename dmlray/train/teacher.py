"""Stored predictions of the training videos, as targets to distil from."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dmlray.config import DistillationConfig
from dmlray.data.predictions import load_predictions, prediction_files
from dmlray.errors import ConfigError, DataError
from dmlray.train.checkpoint import checkpoint_digest
from dmlray.train.loss import Targets

_LEAST, _MOST = 1e-6, 1 - 1e-6  # probabilities whose log-odds are softened; beyond them float32 has few digits


class Teacher:
    """The predictions of ``config``, a file or the files of a folder; classes that a video's store lacks have the
    target 0. ``digest`` changes with any of the files.

    Labels and scores stay in the mapped files; of a million videos the ids take about 20 MB. Raises ConfigError
    when one is of another number of classes, StorageError when one is damaged.
    """

    def __init__(self, config: DistillationConfig, classes: int) -> None:
        self._path, self._temperature = Path(config.predictions), config.temperature
        files = prediction_files(self._path)
        stored = [load_predictions(file) for file in files]
        for one in stored:
            if one.classes != classes:
                expected = f"predictions of the data's {classes} classes, not of {one.classes}"
                raise ConfigError("loss.distillation.predictions", config.predictions, expected)
        self.digest = hashlib.sha256("".join(map(checkpoint_digest, files)).encode()).hexdigest()
        self._stored = [(one.labels, one.scores) for one in stored]
        self._firsts = np.cumsum([0, *map(len, stored)])[:-1]  # the row of each file's first video
        ids = _encoded([name for one in stored for name in one.ids.tolist()])
        self._order = np.argsort(ids)
        self._ids = ids[self._order]

    def targets(self, ids: Sequence[str], device: torch.device) -> Targets:
        """Softened probabilities: sigmoid(log-odds / temperature). Raises DataError naming a video without any."""
        rows = self._rows(ids)
        width = max(labels.shape[1] for labels, _ in self._stored)
        classes = np.zeros((len(ids), width), dtype=np.int64)
        values = np.zeros((len(ids), width), dtype=np.float32)
        of_file = np.searchsorted(self._firsts, rows, side="right") - 1
        for number in np.unique(of_file):
            labels, scores = self._stored[number]
            here, own = of_file == number, rows[of_file == number] - self._firsts[number]
            classes[here, : labels.shape[1]], values[here, : labels.shape[1]] = labels[own], scores[own]
        softened = self._softened(torch.from_numpy(values))
        return Targets(torch.from_numpy(classes).to(device, non_blocking=True), softened.to(device, non_blocking=True))

    def _softened(self, scores: torch.Tensor) -> torch.Tensor:
        if self._temperature == 1.0:
            return scores
        softened = (scores.clamp(_LEAST, _MOST).logit() / self._temperature).sigmoid()
        return softened.masked_fill(scores == 0, 0.0)

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
