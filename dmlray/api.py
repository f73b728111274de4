"""What a notebook needs: sweeps as tables, ensembles that are chosen and that predict, TFRecords as arrays.

`from dmlray import …` brings these names in; nothing heavy is imported before the first is used.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dmlray.data.columns import VideoBlock
from dmlray.data.dataset import Dataset
from dmlray.data.find_schema import find_schema
from dmlray.data.location import Location, list_files, locate, reached
from dmlray.data.predictions import Predictions, load_predictions
from dmlray.data.reader import read_files
from dmlray.data.schema import Schema, load_schema
from dmlray.ensemble.candidates import TEST_FILE, VALIDATION_FILE, Candidate
from dmlray.ensemble.choice import EnsembleSettings, Scale
from dmlray.ensemble.scoring import best_device
from dmlray.ensemble.search import EnsembleResult, search_ensemble
from dmlray.ensemble.sweeps import finished_candidates
from dmlray.errors import MissingInputError, UsageError
from dmlray.registry.find import find_package
from dmlray.registry.package import Package, load_package
from dmlray.registry.served import block_of
from dmlray.sweep.records import TrialRecord
from dmlray.sweep.runs import label
from dmlray.sweep.settings import SweepFolder, load_settings
from dmlray.sweep.study import Study
from dmlray.sweep.summary import duration_s

__all__ = ["Ensemble", "Sweep", "load_ensemble", "load_sweep", "read_tfrecords", "select_ensemble"]

_COLUMNS = ("trial", "model", "state", "val_gap", "test_gap", "epochs", "train_s", "reason")
_FILES = {"validation": VALIDATION_FILE, "test": TEST_FILE}


class Sweep:
    """A sweep, running or not. Made by `load_sweep`; every call reads it anew."""

    def __init__(self, folder: SweepFolder) -> None:
        self.folder, self.config = folder, load_settings(folder)

    def trials(self) -> pd.DataFrame:
        """A row for each trial, by number; ``train_s`` in seconds, a column for each searched parameter.

        ``val_gap`` is the best so far; ``test_gap`` is NaN before a trial's end and where the data has no test split.
        Raises StorageError where the study is damaged.
        """
        trials = self._records()
        table = pd.DataFrame([_row(trial) for trial in trials], columns=list(_COLUMNS))
        searched = pd.DataFrame([trial.params for trial in trials], index=table.index)
        return pd.concat([table, searched], axis=1).set_index("trial")

    def predictions(self, number: int, split: Literal["validation", "test"] = "validation") -> Predictions:
        """The 50 best labels (N, 50) with their scores (N, 50) of each video, and its true labels, by one trial.

        Raises UsageError for another split, MissingInputError for a trial that has left none, StorageError where they
        are damaged.
        """
        if split not in _FILES:
            raise UsageError(f"a trial predicts {' and '.join(_FILES)}, not {split!r}")
        path = self.folder.trial(number) / _FILES[split]
        if not path.is_file():
            raise MissingInputError(path, f"{split} predictions of trial {number}")
        return load_predictions(path)

    def candidates(self) -> list[Candidate]:
        """The finished trials with their predictions, as `select_ensemble` takes them."""
        return finished_candidates(self.folder)

    def _records(self) -> list[TrialRecord]:
        with closing(Study.open(self.folder.study, read_only=True)) as study:
            return study.trials()


class Ensemble:
    """A packaged ensemble. Made by `load_ensemble`."""

    def __init__(self, package: Package) -> None:
        self._package = package

    @property
    def schema(self) -> Schema:
        """Modalities with their widths, and the number of classes."""
        return self._package.schema

    @property
    def names(self) -> list[str] | None:
        """Of the classes, where the package has a vocabulary."""
        return self._package.vocabulary

    def predict(self, batch: VideoBlock | Dataset | Mapping[str, Sequence[Any]]) -> NDArray[np.float32]:
        """Probabilities (N, C) of N videos: of `read_tfrecords`, of a converted split, or arrays by modality.

        An array is (N, D) for video-level features, for frame-level ones a list of N arrays (T, D) of uint8, T of each
        video's own. Raises DataError where features are not those of the ensemble's schema.
        """
        videos = batch if isinstance(batch, VideoBlock | Dataset) else block_of(batch, self.schema)
        return self._package.predict(videos)


def load_sweep(name: str, results: Path | str = "results") -> Sweep:
    """The sweep in ``results``/``name``. Raises MissingInputError where there is none, StorageError for damage."""
    return Sweep(SweepFolder(Path(results), name))


def select_ensemble(
    members: Sweep | Sequence[Predictions],
    top: int = 5,
    *,
    size: int = 25,
    weights: str = "gap",
    scale: Scale = "temperature",
    bags: int = 0,
    report_split: float = 0.5,
    seed: int = 0,
) -> EnsembleResult:
    """Choose at most ``top`` of a sweep's finished trials, or of predictions of the same videos, by GAP@20.

    The settings are those of `dmlray ensemble`; candidates are the trials' own models, without snapshots. The result
    has ``weights`` by trial (or by place), ``gap`` on videos that the selection never saw, and the whole ``report``.
    All of it comes from the stored best labels; no model is run and nothing is written, so to predict with an ensemble
    choose it by the command.

    Raises UsageError where there is nothing to choose from, DataError where members do not belong together.
    """
    settings = EnsembleSettings(top, size, weights, scale, bags, report_split, seed=seed)
    found = members.candidates() if isinstance(members, Sweep) else _numbered(members)
    return search_ensemble(found, settings)


def load_ensemble(name: str, results: Path | str = "results") -> Ensemble:
    """The ensemble that ``name`` means: sweep/ensemble, a sweep of one ensemble, or a package's folder.

    On the GPU if there is one. Raises MissingInputError where there is none, UsageError where the sweep has several,
    DataError where a file of its package was altered.
    """
    return Ensemble(load_package(find_package(name, Path(results))).to(best_device()))


def read_tfrecords(source: Path | str, schema: Path | str | None = None) -> Iterator[VideoBlock]:
    """Videos of a TFRecord file, folder or pattern (also s3://, gs://), in blocks of at most 512 and about 16 MiB.

    A block has N ``ids``, labels, and ``features`` by modality: (N, D) float32, or frames of all its videos (total, D)
    uint8, those of video i at ``frame_offsets[i]`` to ``frame_offsets[i + 1]``. ``schema`` is a preset's name or a
    YAML file; by default it is found as `dmlray convert` finds it.

    Raises MissingInputError for no such files; while it is read, DataError naming file, record and byte of a bad one.
    """
    location = locate(source)
    paths = list_files(location)
    found = load_schema(schema) if schema is not None else find_schema(location, paths)
    return _blocks(location, [location.path(file.name) for file in paths], found)


def _blocks(location: Location, paths: Sequence[str], schema: Schema) -> Iterator[VideoBlock]:
    with reached(location):
        for block, _ in read_files(paths, schema, filesystem=location.filesystem):
            if len(block):
                yield block


def _numbered(stores: Iterable[Predictions]) -> list[Candidate]:
    return [Candidate(place, f"member {place}", Path(f"member {place}"), store) for place, store in enumerate(stores)]


def _row(trial: TrialRecord) -> tuple[object, ...]:
    """In the order of _COLUMNS."""
    epochs = trial.curve[-1][0] if trial.curve else 0
    gaps = (trial.best_so_far, trial.metrics.get("test_gap"))
    return trial.number, label(trial), trial.state.value, *gaps, epochs, duration_s(trial) or 0.0, trial.reason
