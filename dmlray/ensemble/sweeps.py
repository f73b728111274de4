"""The candidates that a sweep has: its finished trials, and if wanted more of their models."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

import torch

from dmlray.data.dataset import Dataset
from dmlray.ensemble.candidates import Candidate, load_candidates
from dmlray.ensemble.members import evaluation_seed
from dmlray.ensemble.origin import number_of, origin
from dmlray.ensemble.snapshots import Checkpoint, snapshots_of
from dmlray.sweep.records import TrialRecord, TrialState
from dmlray.sweep.runs import label
from dmlray.sweep.settings import SweepFolder
from dmlray.sweep.study import Study


def finished_trials(folder: SweepFolder) -> list[tuple[TrialRecord, Candidate]]:
    """Those that trained all their epochs, with their predictions. Raises StorageError where anything is damaged."""
    with closing(Study.open(folder.study, read_only=True)) as study:
        trials = [trial for trial in study.trials() if trial.state is TrialState.complete]
    own = load_candidates((trial.number, label(trial), folder.trial(trial.number)) for trial in trials)
    return list(zip(trials, own, strict=True))


def finished_candidates(folder: SweepFolder) -> list[Candidate]:
    """The models that finished trials are known by."""
    return [candidate for _, candidate in finished_trials(folder)]


def snapshot_candidates(
    trials: Sequence[tuple[TrialRecord, Candidate]],
    splits: Mapping[str, Dataset],
    seed: int,
    device: torch.device,
    told: Callable[[int, int], None],
) -> Iterator[Candidate]:
    """What `ensemble.snapshots` finds in finished ``trials`` of a sweep; ``told`` hears how many of all are done."""
    for done, (trial, own) in enumerate(trials, start=1):
        epochs = (epoch for epoch, _ in trial.curve)
        checkpoints = [Checkpoint(epoch, *kept) for epoch, kept in zip(epochs, trial.checkpoints, strict=True)]
        yield from snapshots_of(own, checkpoints, splits, seed, device)
        told(done, len(trials))


def joining(candidates: Sequence[Candidate], place: int, seed: int) -> list[Candidate]:
    """Candidates of the other sweep at ``place``, whose seed is ``seed``, as an ensemble numbers them."""
    return [
        replace(one, trial=number_of(place, one.trial), seed=evaluation_seed(seed, origin(one.trial, "", ())[1]))
        for one in candidates
    ]
