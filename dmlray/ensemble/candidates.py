"""What may become a member: trials with predictions of the same videos."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmlray.data.predictions import Predictions, load_predictions
from dmlray.errors import DataError, UsageError

VALIDATION_FILE = "predictions.arrow"
TEST_FILE = "test_predictions.arrow"


@dataclass(frozen=True)
class Candidate:
    """Predictions of a trial, by its number as `ensemble.origin` has it, which tells of which model of the trial they
    are; ``name`` tells it apart for people, ``directory`` holds the trial's files.

    ``seed`` drew the frames of its evaluation; None where that is the ensemble's own sweep's matter.
    """

    trial: int
    name: str
    directory: Path
    validation: Predictions
    test: Predictions | None = None
    seed: int | None = None


def load_candidates(trials: Iterable[tuple[int, str, Path]]) -> list[Candidate]:
    """Read finished trials, given as number, name and folder. Test predictions are read where there are any.

    Raises StorageError naming a file that is missing or damaged.
    """
    return [_load(*trial) for trial in trials]


def ordered_candidates(candidates: Iterable[Candidate]) -> list[Candidate]:
    """By trial number, then name, the order in which ties are decided; last those of negative numbers, without a model.

    Raises UsageError when there are none, DataError naming the member and its file when its videos, labels or classes
    are not those of the first, or a score is no probability.
    """
    ordered = sorted(candidates, key=lambda one: (one.trial < 0, abs(one.trial), one.name))
    if not ordered:
        raise UsageError("an ensemble needs at least one finished trial, there is none")
    _check(ordered, [(candidate.validation, VALIDATION_FILE) for candidate in ordered])
    tested = [candidate for candidate in ordered if candidate.test is not None]
    _check(tested, [(candidate.test, TEST_FILE) for candidate in tested if candidate.test is not None])
    return ordered


def _load(trial: int, name: str, directory: Path) -> Candidate:
    test = directory / TEST_FILE
    return Candidate(
        trial,
        name,
        directory,
        load_predictions(directory / VALIDATION_FILE),
        load_predictions(test) if test.exists() else None,
    )


def _check(candidates: Sequence[Candidate], stores: Sequence[tuple[Predictions, str]]) -> None:
    for candidate, (store, file) in zip(candidates, stores, strict=True):
        if problem := _problem(store, stores[0][0], f"trial {candidates[0].trial}"):
            raise DataError(candidate.directory / file, f"member trial {candidate.trial} ({candidate.name}) {problem}")


def _problem(store: Predictions, first: Predictions, other: str) -> str | None:
    if store.classes != first.classes:
        return f"has {store.classes} classes, {other} has {first.classes}"
    if len(store) != len(first):
        return f"holds {len(store)} videos, {other} holds {len(first)}"
    differing = np.flatnonzero(np.asarray(store.ids) != np.asarray(first.ids))
    if differing.size:
        place = int(differing[0])
        return f"holds other videos than {other}: {store.ids[place]!r} at place {place}, not {first.ids[place]!r}"
    if not all(np.array_equal(mine, theirs) for mine, theirs in zip(store.truth, first.truth, strict=True)):
        return f"was measured against other labels than {other}"
    if not ((store.scores >= 0) & (store.scores <= 1)).all():  # False for NaN
        return "has scores that are not in 0 to 1"
    return None
