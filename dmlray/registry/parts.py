"""One part predicted: its videos through the members, the best labels of each written to a file of its own."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
import torch
from pydantic import PositiveInt

from dmlray.config import Config
from dmlray.data.predictions import Predictions, load_predictions, save_predictions
from dmlray.data.ragged import Ragged
from dmlray.ensemble.scoring import MemberScoreError, Scorer
from dmlray.errors import DataError, StorageError
from dmlray.failpoints import reach
from dmlray.metrics.top import top_k
from dmlray.registry.package import Package
from dmlray.registry.sources import Part, Piece, read_part
from dmlray.train.threads import cpu_threads

Item = TypeVar("Item")
Made = TypeVar("Made")


class PartTask(Config):
    """What a worker needs: the package in ``package`` whose digest is ``digest``, and where the part's file goes.

    ``keep`` labels of each video stay; ``batch_size`` is part of the task since it may change a score's last bits.
    """

    package: Path
    digest: str
    part: Part
    keep: PositiveInt
    batch_size: PositiveInt
    folder: Path

    @property
    def path(self) -> Path:
        """The part's file."""
        return self.folder / part_name(self.part.number)

    @property
    def key(self) -> str:
        """Changes when the part's predictions would."""
        decisive = self.model_dump_json(exclude={"package", "folder"})
        return hashlib.sha256(decisive.encode()).hexdigest()


def part_name(number: int) -> str:
    """File name of a part."""
    return f"part-{number:05d}.arrow"


def is_done(task: PartTask) -> bool:
    """Whether the part's file is there, whole, and of this very task."""
    try:
        return load_predictions(task.path).meta.get("part") == task.key
    except StorageError:
        return False


def predict_part(package: Package, task: PartTask, threads: int, told: Callable[[int], None] | None = None) -> int:
    """Predict a part and write its file, whole or not at all; gives its number of videos, ``told`` of each batch's.

    Each of ``threads`` scores whole batches with one thread of torch, so the bytes do not depend on their number.
    Raises DataError for a bad record, or where a member's score is not a number.
    """
    store = _Store(task.keep, package.schema.classes)
    scorers: SimpleQueue[Scorer] = SimpleQueue()
    for _ in range(threads):
        scorers.put(package.scorer())

    def work(piece: Piece) -> "_Best":
        scorer = scorers.get()
        try:
            return _best(scorer, piece, task.keep)
        finally:
            scorers.put(scorer)

    pieces = read_part(task.part, package.schema, task.batch_size)
    try:
        with cpu_threads(1):
            for best in in_order(work, pieces, threads):
                store.add(best)
                reach("batch-predicted")
                if told is not None:
                    told(len(best.ids))
    except MemberScoreError as error:
        raise DataError(task.package, f"{error} on {_describe(task.part)}") from error
    save_predictions(task.path, store.predictions({"package": task.digest, "part": task.key}))
    return len(store)


def scoring_threads(cpus: int, device: torch.device) -> int:
    """How many threads score at once: all CPUs; or, for a GPU, as many as keep it supplied."""
    return min(cpus, 3) if device.type == "cuda" else cpus


def in_order(work: Callable[[Item], Made], items: Iterable[Item], threads: int) -> Iterator[Made]:
    """``work`` on each item in ``threads`` threads, results in the order of the items; few items wait at once."""
    with ThreadPoolExecutor(threads, thread_name_prefix="predict") as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > threads + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


class _Best:
    """The best labels of a batch, with ids and true labels."""

    def __init__(self, ids: list[str], labels: np.ndarray, scores: np.ndarray, truth: np.ndarray) -> None:
        self.ids, self.labels, self.scores, self.truth = ids, labels, scores, truth


def _best(scorer: Scorer, piece: Piece, keep: int) -> _Best:
    labels, scores = (column.cpu().numpy() for column in top_k(scorer.score(piece.store, piece.indices), keep))
    ids, truth = piece.ids_and_labels()
    return _Best(ids, labels.astype(np.int32), scores, truth)


class _Store:
    """The batches of a part, one after the other."""

    def __init__(self, keep: int, classes: int) -> None:
        self._keep, self._classes = min(keep, classes), classes
        self._batches: list[_Best] = []

    def __len__(self) -> int:
        return sum(len(batch.ids) for batch in self._batches)

    def add(self, batch: _Best) -> None:
        self._batches.append(batch)

    def predictions(self, meta: dict[str, str]) -> Predictions:
        none = np.empty((0, self._keep))
        truth = [row[row >= 0] for batch in self._batches for row in batch.truth]
        return Predictions(
            ids=np.array([video for batch in self._batches for video in batch.ids], dtype=object),
            labels=np.concatenate([none.astype(np.int32), *(batch.labels for batch in self._batches)]),
            scores=np.concatenate([none.astype(np.float32), *(batch.scores for batch in self._batches)]),
            truth=Ragged(
                np.cumsum([0, *map(len, truth)], dtype=np.int64), np.concatenate([np.empty(0, np.int64), *truth])
            ),
            classes=self._classes,
            meta=meta,
        )


def _describe(part: Part) -> str:
    return f"{part.uri}/{part.files[0].name}" if part.files else f"{part.uri}, video {part.first} and on"
