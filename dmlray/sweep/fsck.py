"""Whether a sweep's files agree with its study: tables, configurations, checkpoints, predictions. Changes nothing."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from dmlray.config import TrialConfig
from dmlray.config.problem import first_problem
from dmlray.copies import check, newest_list, read_list
from dmlray.data.dataset import open_splits
from dmlray.data.predictions import load_predictions
from dmlray.errors import DmlrayError, StorageError
from dmlray.remote import Remote
from dmlray.sweep.fetching import FILES, TRIALS, newest_copies, sweep_remote
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.rows import TableValues
from dmlray.sweep.settings import SweepConfig, SweepFolder
from dmlray.train.checkpoint import checkpoint_digest
from dmlray.train.trial import PREDICTIONS

Ids = Sequence[str]


@dataclass(frozen=True)
class Finding:
    """One disagreement with the study, at a file or an MLflow run."""

    place: str
    problem: str


def check_tables(place: Path, trials: Sequence[TrialRecord], tables: Sequence[TableValues]) -> Iterator[Finding]:
    """What Optuna's tables say of values, against the sealed attributes that the driver goes by."""
    for trial, table in zip(trials, tables, strict=True):
        if table.value != trial.value:
            problem = (
                f"trial {trial.number} has the value {table.value} in Optuna's table, {trial.value} in its outcome"
            )
            yield Finding(str(place), problem)
        expected = {epoch: gap for epoch, gap in trial.history if math.isfinite(gap)}
        for epoch in sorted(expected.keys() | table.intermediate.keys()):
            if expected.get(epoch) != table.intermediate.get(epoch):
                known, found = expected.get(epoch), table.intermediate.get(epoch)
                problem = (
                    f"trial {trial.number} has {found} in Optuna's table after epoch {epoch}, {known} in its report"
                )
                yield Finding(str(place), problem)
        try:
            TrialConfig.model_validate(trial.config)
        except ValidationError as error:
            wrong = first_problem(error)
            problem = f"trial {trial.number} has a configuration that cannot be: {wrong.field}: {wrong.said}"
            yield Finding(str(place), problem)


def check_files(folder: SweepFolder, config: SweepConfig, trials: Sequence[TrialRecord]) -> Iterator[Finding]:
    """Checkpoints against the digests in the study, predictions against the checkpoint and the data they come from,
    copies against their lists.
    """
    ids: dict[str, Ids] = {}
    try:
        splits = open_splits(config.data, train=config.stream is None)
        ids = {name: dataset.ids for name, dataset in splits.items()}
        for name, dataset in splits.items():
            if config.fingerprints.get(name, dataset.fingerprint) != dataset.fingerprint:
                yield Finding(str(config.data / name), "is not the data that the sweep was started on")
    except DmlrayError as error:
        yield Finding(str(config.data), f"the data cannot be looked at: {error}")
    for trial in trials:
        if trial.curve and trial.state is not TrialState.failed:
            is_copied = config.storage_path is not None  # then other nodes have kept none
            yield from _check_checkpoints(folder.trial(trial.number) / "checkpoints", trial, is_copied)
        if trial.state is TrialState.complete:
            yield from _check_predictions(folder, config, trial, ids)
    if config.storage_path is not None:
        yield from check_copies(sweep_remote(config.storage_path, config.name), trials)


def check_copies(remote: Remote, trials: Sequence[TrialRecord]) -> Iterator[Finding]:
    """What a sweep has on its storage path: every byte is read."""
    try:
        for _, name in newest_copies(remote):
            yield from _check_list(remote, name, remote.get(name) or b"", FILES)
        for trial in trials:
            if trial.curve and trial.state is not TrialState.failed:
                folder = f"{TRIALS}/{trial.number:04d}"
                name, data = newest_list(remote.below(folder))
                yield from _check_list(remote, f"{folder}/{name}", data, folder, _needed(trial))
    except DmlrayError as error:
        yield Finding(str(remote), f"cannot be looked at: {error}")


def _check_list(
    remote: Remote, name: str, data: bytes, folder: str, needed: dict[str, str] | None = None
) -> Iterator[Finding]:
    """``data`` is what the list ``name`` holds; ``needed`` are names of checkpoints with their digests."""
    try:
        copies = read_list(data, remote.below(folder).uri)
    except StorageError as error:
        yield Finding(f"{remote}/{name}", error.problem)
        return
    for place, problem in check(copies).items():
        yield Finding(place, problem)
    found = {copy.sha256 for copy in copies.files.values()}
    for checkpoint, digest in (needed or {}).items():
        if digest not in found:
            yield Finding(f"{remote}/{name}", f"tells of no {checkpoint} such as the study names")


def _needed(trial: TrialRecord) -> dict[str, str]:
    """The checkpoint that a trial goes on from, or the one that it is known by once it has ended, with its digest."""
    epochs = dict(zip((epoch for epoch, _ in trial.curve), trial.checkpoints, strict=True))
    return dict([epochs.get(trial.best_epoch or max(epochs), epochs[max(epochs)])])


def _check_checkpoints(folder: Path, trial: TrialRecord, is_copied: bool) -> Iterator[Finding]:
    """All that are there; those that a trial goes on from, or is known by, must be there unless they are copied."""
    needed = _needed(trial)
    for name, digest in dict.fromkeys(trial.checkpoints):
        path = folder / name
        if not path.exists():
            if needed.get(name) == digest and not is_copied:
                yield Finding(str(path), f"is missing; the study names it for trial {trial.number}")
        elif (problem := _digest_problem(path, digest)) is not None:
            yield Finding(str(path), problem)


def _digest_problem(path: Path, digest: str) -> str | None:
    try:
        found = checkpoint_digest(path)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if found == digest else f"has the SHA-256 {found[:16]}..., {digest[:16]}... in the study"


def _check_predictions(
    folder: SweepFolder, config: SweepConfig, trial: TrialRecord, ids: dict[str, Ids]
) -> Iterator[Finding]:
    """Of a complete trial: validation, and test where the study has a test_gap."""
    epochs = dict(zip((epoch for epoch, _ in trial.curve), trial.checkpoints, strict=True))
    _, digest = epochs.get(trial.best_epoch or 0, (None, None))
    for split, file in PREDICTIONS.items():
        if split == "test" and "test_gap" not in trial.metrics:
            continue
        path = folder.trial(trial.number) / file
        try:
            predictions = load_predictions(path)
        except StorageError as error:
            yield Finding(str(path), error.problem)
            continue
        meta = {"sweep": config.name, "trial": str(trial.number), "split": split, "checkpoint": digest}
        meta["data"] = config.fingerprints.get(split)
        for key, expected in meta.items():
            if expected is not None and predictions.meta.get(key) != expected:
                yield Finding(str(path), f"has {key} {predictions.meta.get(key)!r}, {expected!r} in the study")
        if split in ids and list(predictions.ids) != list(ids[split]):
            yield Finding(str(path), f"is not of the videos in {config.data / split}")
