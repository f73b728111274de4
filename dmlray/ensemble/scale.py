"""Members' scores on one scale: temperature scaling (Guo et al., 2017, "On calibration of modern neural networks").

GAP ranks the pairs of all videos together, so what a score means must not differ from member to member. Each member's
logits are divided by one temperature, the one under which its stored pairs are most likely. That never changes a
member's own ranking, only its say in a blend.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from dmlray.data.predictions import Predictions
from dmlray.ensemble.parts import Rows, take_lists
from dmlray.metrics.truth import Truth

LIMITS = (0.2, 5.0)
ENOUGH = 4_000  # videos that tell a temperature to well under a percent
_LEAST, _MOST = 1e-12, 1 - 2.0**-24


def fit_temperature(predictions: Predictions, rows: Rows) -> float:
    """The temperature, within LIMITS, that minimises the cross-entropy of the pairs stored for videos ``rows`` (M,).

    1.0 where none of their pairs is true, since likelihood then tells nothing about the scale.
    """
    rows = rows[:: max(1, len(rows) // ENOUGH)]
    truth = take_lists(predictions.truth, rows)
    hits = Truth.from_ragged(truth.offsets, truth.values, predictions.classes).hits(predictions.labels[rows])
    if not hits.any():
        return 1.0
    logits = _logits(predictions.scores[rows])

    def loss(log_temperature: float) -> float:
        scaled = logits * np.exp(-log_temperature)
        return float((np.logaddexp(0.0, scaled) - hits * scaled).mean())

    found = minimize_scalar(loss, bounds=(np.log(LIMITS[0]), np.log(LIMITS[1])), method="bounded")
    return float(np.exp(found.x))


def scaled(predictions: Predictions, temperature: float) -> Predictions:
    """The same predictions with their logits divided by ``temperature``; the order within a video stays."""
    if temperature == 1.0:
        return predictions
    scores = 1 / (1 + np.exp(-_logits(predictions.scores) / temperature))
    return replace(predictions, scores=np.where(predictions.scores > 0, scores, 0).astype(np.float32))


def _logits(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    inside = np.clip(scores.astype(np.float64), _LEAST, _MOST)
    return np.log(inside) - np.log1p(-inside)
