"""A split through the model: its measures, and the best predictions of every video for the ensemble."""

from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dmlray.data.batch import Batch
from dmlray.data.predictions import Predictions
from dmlray.data.ragged import Ragged
from dmlray.metrics.evaluation import Evaluation
from dmlray.train.distributed import ALONE, Peers
from dmlray.train.loop import BatchSource
from dmlray.train.loss import cross_entropy
from dmlray.train.microbatch import MicroBatch

TOP = 50  # pairs kept per video: as good for selecting members as 100 (README, Decisions)


@dataclass(frozen=True)
class SplitResult:
    """``metrics`` holds gap, map, hit1, perr and loss; ``predictions`` stand in the order of the dataset.

    Of several workers the first has the predictions, and all have the metrics.
    """

    metrics: dict[str, float]
    predictions: Predictions | None

    def named(self, prefix: str) -> dict[str, float]:
        """The metrics as they stand in a report: ``val_gap`` for ``gap``."""
        return {f"{prefix}_{name}": value for name, value in self.metrics.items()}


def evaluate(
    model: nn.Module,
    batches: BatchSource,
    classes: int,
    device: torch.device,
    peers: Peers = ALONE,
    micro_batch: MicroBatch | None = None,
) -> SplitResult:
    """Run every video once; with ``peers``, ``batches`` are this worker's share of each batch.

    Memory grows by less than 1 kB a video, whatever the number of classes. In float32, also on a GPU: bfloat16 has so
    few digits that scores would tie. Raises FloatingPointError when the model's output is not finite,
    torch.OutOfMemoryError when one video alone does not fit.
    """
    evaluation, store = Evaluation(classes, keep=TOP), _Store()
    micro_batch = micro_batch or MicroBatch()
    model.eval()

    def predict(part: Batch) -> tuple[Batch, Tensor, float]:
        part = part.to(device)
        output = model(part.features, part.mask)
        loss = float(cross_entropy(output.logits, part.labels) + output.penalty)
        if not np.isfinite(loss):
            raise FloatingPointError("the loss is not finite")
        return part, output.logits.float().sigmoid(), loss

    problem = None
    try:
        with torch.inference_mode(), closing(batches.epoch(0)) as epoch:
            for batch in epoch:
                for part, probabilities, loss in micro_batch.run(batch, predict) if len(batch) else []:
                    store.add(part, *evaluation.add(probabilities, part.labels, part.indices, loss))
    except FloatingPointError as error:
        problem = str(error)
    _check_together(peers, problem)
    return _merged(peers, evaluation, store)


def _check_together(peers: Peers, problem: str | None) -> None:
    """What one worker has found ends the evaluation of all."""
    found = [each for each in peers.gather(problem) if each is not None]
    if agreed := peers.agree(found[0] if found else None):
        raise FloatingPointError(agreed)


def _merged(peers: Peers, evaluation: Evaluation, store: "_Store") -> SplitResult:
    for others, their_store in peers.gather((evaluation, store))[1:]:
        evaluation.merge(others)
        store.extend(their_store)
    metrics = peers.agree(evaluation.metrics() if peers.is_first else {})
    return SplitResult(metrics, store.predictions(evaluation.classes) if peers.is_first else None)


class _Store:
    """Predictions as they come, batch by batch."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._indices: list[NDArray[np.int64]] = []
        self._labels: list[NDArray[np.int32]] = []
        self._scores: list[NDArray[np.float32]] = []
        self._truth: list[NDArray[np.int64]] = []  # one array per video

    def add(self, batch: Batch, labels: NDArray[np.integer], scores: NDArray[np.floating]) -> None:
        self._ids += batch.ids
        self._indices.append(np.asarray(batch.indices))
        self._labels.append(labels.astype(np.int32))
        self._scores.append(scores.astype(np.float32))
        self._truth += [row[row >= 0] for row in batch.labels.cpu().numpy()]

    def extend(self, other: "_Store") -> None:
        self._ids += other._ids
        self._indices += other._indices
        self._labels += other._labels
        self._scores += other._scores
        self._truth += other._truth

    def predictions(self, classes: int) -> Predictions:
        order = np.argsort(np.concatenate(self._indices), kind="stable")
        truth = [self._truth[i] for i in order]
        return Predictions(
            ids=np.array(self._ids, dtype=object)[order],
            labels=np.concatenate(self._labels)[order],
            scores=np.concatenate(self._scores)[order],
            truth=Ragged(np.cumsum([0, *map(len, truth)], dtype=np.int64), np.concatenate(truth)),
            classes=classes,
        )
