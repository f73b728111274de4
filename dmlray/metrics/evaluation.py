"""All measures of one pass over a split, in memory that does not grow with the number of classes."""

import numpy as np
from torch import Tensor

from dmlray.metrics.accuracy import equal_recall_precisions
from dmlray.metrics.average_precision import mean_average_precision_of_pairs
from dmlray.metrics.gap import TOP, Floats, pooled_average_precision
from dmlray.metrics.rows import Rows
from dmlray.metrics.top import top_k
from dmlray.metrics.truth import Ints, Truth


class Evaluation:
    """GAP@20, mAP, Hit@1, PERR and the mean loss of videos that come in batches, and from several workers.

    It keeps 20 pairs per video (about 200 bytes) and one count per class. Values are those of one pass over all
    videos in the order of the dataset, whatever the batching, the workers and the order of merging; only the loss,
    a sum of floats, may differ in its last bits. Instances can be pickled.
    """

    def __init__(self, classes: int, keep: int = TOP) -> None:
        """``keep``: how many pairs per video `add` hands back, for a prediction store."""
        self.classes = classes
        self.keep = keep
        self._rows = Rows()
        self._positives = np.zeros(classes, dtype=np.int64)
        self._loss, self._loss_videos = 0.0, 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(
        self, probabilities: Tensor, labels: Tensor, indices: Ints, loss: float | None = None
    ) -> tuple[Ints, Floats]:
        """Add videos; give back the best ``min(keep, C)`` labels (int64) and scores of each, best first.

        probabilities (B, C) on any device, labels (B, L) padded with -1, indices (B,) the videos' places in the
        dataset (they order ties), loss the mean over the batch. Raises FloatingPointError where a probability is
        NaN, ValueError where a label is not in [0, C).
        """
        truth = Truth.from_padded(labels, self.classes)
        counts = truth.per_video()
        width = max(self.keep, TOP, int(counts.max(initial=0)))  # PERR looks at as many as there are labels
        labels_top, scores_top = (column.cpu().numpy() for column in top_k(probabilities, width))
        hits = truth.hits(labels_top)
        self._rows.append(
            index=np.asarray(indices),
            labels=labels_top[:, :TOP].astype(np.int32),
            scores=scores_top[:, :TOP].copy(),  # a copy, or the wider table would stay in memory
            hits=hits[:, :TOP].copy(),
            perr=equal_recall_precisions(scores_top, hits, counts),
        )
        self._positives += truth.per_class()
        if loss is not None:
            self._loss, self._loss_videos = self._loss + loss * len(counts), self._loss_videos + len(counts)
        return labels_top[:, : self.keep], scores_top[:, : self.keep]

    def merge(self, other: "Evaluation") -> None:
        """Add what another worker has evaluated."""
        assert other.classes == self.classes, "evaluations over different classes"
        self._rows.extend(other._rows)
        self._positives = self._positives + other._positives
        self._loss, self._loss_videos = self._loss + other._loss, self._loss_videos + other._loss_videos

    def metrics(self) -> dict[str, float]:
        """``gap``, ``map``, ``hit1``, ``perr``, and ``loss`` if losses were added.

        Raises ValueError if nothing was added, or a video twice.
        """
        rows = self._rows.columns()
        scores, hits = rows["scores"], rows["hits"]
        values = {
            "gap": pooled_average_precision(scores.ravel(), hits.ravel(), int(self._positives.sum())),
            "map": mean_average_precision_of_pairs(rows["labels"], scores, hits, self._positives),
            "hit1": float(hits[:, 0].mean()),
            "perr": float(rows["perr"].mean()),
        }
        if self._loss_videos:
            values["loss"] = self._loss / self._loss_videos
        return values
