"""Predicting any number of shards: planned in parts, resumed after a kill, put together in the order of the data.

With a CSV file as its target, parts lie in ``<file>.parts`` until the file is whole; with a folder, they are what it
holds, and ``manifest.json``, written last, says that they are complete.
"""

import hashlib
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from dmlray.atomic import atomic_path
from dmlray.config import Config
from dmlray.data.manifest import MANIFEST, read_document, write_document
from dmlray.data.predictions import Predictions, load_predictions
from dmlray.data.submission import PAIRS, write_submission
from dmlray.errors import DataError, StorageError, UsageError
from dmlray.exclusive import exclusive
from dmlray.registry.package import Package
from dmlray.registry.parts import PartTask, is_done, part_name, predict_part
from dmlray.registry.sources import plan_parts

KEEP = 50  # labels of a video in Arrow files: as many as a trial's own predictions hold
_LOCK = "predict.lock"

Told = Callable[[int, int], None]  # videos, bytes of the source: how much more is done


class PredictionManifest(Config):
    """A finished folder of predictions: ``videos`` of each part, in order; ``key`` tells what was predicted by whom."""

    format: Literal[1] = 1
    key: str
    package: str
    classes: PositiveInt
    keep: PositiveInt
    videos: tuple[NonNegativeInt, ...]


@dataclass(frozen=True)
class Job:
    """A planned prediction: ``todo`` are the parts that an earlier run has not left in ``folder``."""

    package: Package
    out: Path
    folder: Path
    tasks: tuple[PartTask, ...]
    todo: tuple[PartTask, ...]

    @property
    def is_csv(self) -> bool:
        """Whether ``out`` is a CSV file rather than a folder."""
        return self.out != self.folder

    @property
    def key(self) -> str:
        """Changes when the predictions would."""
        return hashlib.sha256("".join(task.key for task in self.tasks).encode()).hexdigest()


@contextmanager
def planned(package: Package, sources: Sequence[str], out: Path, keep: int, batch_size: int) -> Iterator[Job]:
    """Plan, and hold the target for the block; ``keep`` labels of each video stay in a folder, a CSV file has 20.

    Raises UsageError for an ``out`` that holds something else or is named as a file of another kind, BusyError while
    another process predicts into it, and what `registry.sources.plan_parts` raises; then nothing has been written.
    """
    is_csv = out.suffix == ".csv"
    folder = out.with_name(f"{out.name}.parts") if is_csv else out
    _check_target(out, folder, is_csv)
    tasks = tuple(
        PartTask(
            package=package.path.absolute(),
            digest=package.digest,
            part=part,
            keep=PAIRS if is_csv else keep,
            batch_size=batch_size,
            folder=folder.absolute(),
        )
        for part in plan_parts(sources, package.schema)
    )
    _check_same(Job(package, out, folder, tasks, tasks))
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / _LOCK, f"{out} is being predicted into"):
        try:
            yield Job(package, out, folder, tasks, tuple(task for task in tasks if not is_done(task)))
        except BaseException:
            if folder.is_dir() and not any(folder.glob("part-*.arrow")):
                shutil.rmtree(folder)  # it came to nothing
            raise


def predict_here(job: Job, threads: int, told: Told) -> None:
    """Predict what is left in this process."""
    for task in job.todo:
        predict_part(job.package, task, threads, lambda videos: told(videos, 0))
        told(0, task.part.size)


def finish(job: Job) -> int:
    """Put the parts together; gives the number of videos. Raises DataError where there is none."""
    counts = [len(load_predictions(task.path)) for task in job.tasks]
    if not sum(counts):
        shutil.rmtree(job.folder)
        raise DataError(job.tasks[0].part.uri, "holds no video")
    if job.is_csv:
        with atomic_path(job.out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            write_submission(file, (load_predictions(task.path) for task in job.tasks))
        shutil.rmtree(job.folder)
    else:
        for stale in set(job.folder.glob("part-*.arrow")) - {job.folder / task.path.name for task in job.tasks}:
            stale.unlink()
        package = job.package
        keep = min(job.tasks[0].keep, package.schema.classes)
        manifest = PredictionManifest(
            key=job.key, package=package.digest, classes=package.schema.classes, keep=keep, videos=tuple(counts)
        )
        write_document(job.folder / MANIFEST, manifest)
        (job.folder / _LOCK).unlink(missing_ok=True)
    return sum(counts)


def read_folder(folder: Path) -> list[Predictions]:
    """The parts of a finished folder, in order, mapped. Raises StorageError where one is missing or damaged."""
    try:
        manifest = read_document(folder / MANIFEST, PredictionManifest)
    except FileNotFoundError as error:
        raise StorageError(folder, f"has no {MANIFEST}: run the same `dmlray predict` again to finish it") from error
    parts = [load_predictions(folder / part_name(number)) for number in range(len(manifest.videos))]
    for number, (part, videos) in enumerate(zip(parts, manifest.videos, strict=True)):
        if len(part) != videos or part.meta.get("package") != manifest.package:
            raise StorageError(folder / part_name(number), "is not the part that the manifest names")
    return parts


def _check_target(out: Path, folder: Path, is_csv: bool) -> None:
    if not is_csv and not out.exists() and re.fullmatch(r"\.[A-Za-z]+", out.suffix):
        raise UsageError(
            f"{out} is named as a file: name one that ends in .csv, or a folder for Arrow files without such an ending"
        )
    if is_csv and out.is_dir():
        raise UsageError(f"{out} is a folder: name a CSV file, or a folder without .csv for Arrow files")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{out} exists and is no folder: name a folder for Arrow files, or a file that ends in .csv")
    ours = (MANIFEST, _LOCK)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in ours and not path.name.lstrip(".").startswith("part-"):
            raise UsageError(f"{folder} holds something else ({path.name}): name another --out")


def _check_same(job: Job) -> None:
    """A finished folder is not overwritten by other predictions."""
    if not (job.folder / MANIFEST).exists():
        return
    if read_document(job.folder / MANIFEST, PredictionManifest).key != job.key:
        raise UsageError(f"{job.out} holds predictions of another ensemble or other data: name another --out")
