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
from dmlray.sweep.settings import SweepFolder, load_settings
from dmlray.sweep.study import Study


def finished_trials(folder: SweepFolder) -> list[TrialRecord]:
    """Those that trained all their epochs. Raises StorageError where the study is damaged."""
    with closing(Study.open(folder.study, read_only=True)) as study:
        return [trial for trial in study.trials() if trial.state is TrialState.complete]


def finished_candidates(folder: SweepFolder, trials: Sequence[TrialRecord] | None = None) -> list[Candidate]:
    """Finished trials (None: read them) with their predictions."""
    found = finished_trials(folder) if trials is None else trials
    return load_candidates((trial.number, label(trial), folder.trial(trial.number)) for trial in found)


def snapshot_candidates(
    folder: SweepFolder,
    splits: Mapping[str, Dataset],
    device: torch.device,
    told: Callable[[int, int], None],
) -> Iterator[Candidate]:
    """What `ensemble.snapshots` finds in the finished trials; ``told`` hears how many of how many are done."""
    trials, seed = finished_trials(folder), load_settings(folder).seed
    for done, (trial, own) in enumerate(zip(trials, finished_candidates(folder, trials), strict=True), start=1):
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
