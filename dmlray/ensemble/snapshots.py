"""More models of a trial as candidates: those of further checkpoints, and what stands behind averages of parameters.

They predict once; what they predict stays in the trial's folder, under the SHA-256 of the checkpoint.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from dmlray.copies import bring
from dmlray.data.dataset import Dataset
from dmlray.data.predictions import Predictions, load_predictions, save_predictions
from dmlray.ensemble.candidates import Candidate
from dmlray.ensemble.dense import score_split
from dmlray.ensemble.members import build_member, evaluation_seed, load_trial_config, trial_model
from dmlray.ensemble.origin import Snapshot, snapshot_file, snapshot_number
from dmlray.ensemble.scoring import MemberModel, MemberScoreError
from dmlray.errors import DataError, StorageError
from dmlray.train.checkpoint import has_trained


class Checkpoint(NamedTuple):
    """One that the study knows: of which ``epoch``, its file's name and SHA-256."""

    epoch: int
    name: str
    digest: str


def snapshots_of(
    own: Candidate,
    checkpoints: Iterable[Checkpoint],
    splits: Mapping[str, Dataset],
    sweep_seed: int,
    device: torch.device,
) -> Iterator[Candidate]:
    """The models in those of a trial's ``checkpoints`` that are still there, but for its ``own``; ``splits`` are those
    that the trial has predicted.

    Raises StorageError for a damaged checkpoint, DataError where ``splits`` are not the trial's, or a model gives NaN.
    """
    stores = {"validation": own.validation, "test": own.test}
    known = {split: store for split in splits if (store := stores.get(split)) is not None}
    seed = evaluation_seed(sweep_seed, own.trial)
    for checkpoint in checkpoints:
        path = own.directory / "checkpoints" / checkpoint.name
        bring(own.directory, checkpoint.digest)  # of a trial that was fetched without its checkpoints
        if not path.is_file():
            continue
        is_own = checkpoint.digest == own.validation.meta.get("checkpoint")
        for is_raw in ([] if is_own else [False]) + ([True] if has_trained(path) else []):
            model = _Model(own, Snapshot(checkpoint.epoch, is_raw), path, checkpoint.digest, seed)
            found = {split: model.predictions(split, splits[split], store, device) for split, store in known.items()}
            yield model.candidate(found["validation"], found.get("test"))


@dataclass(frozen=True)
class _Model:
    """A ``snapshot`` of the trial of ``own``, in the checkpoint at ``path``."""

    own: Candidate
    snapshot: Snapshot
    path: Path
    digest: str
    seed: int

    def candidate(self, validation: Predictions, test: Predictions | None) -> Candidate:
        suffix = " without averaging" if self.snapshot.is_raw else ""
        return Candidate(
            snapshot_number(self.own.trial, self.snapshot),
            f"{self.own.name}, epoch {self.snapshot.epoch}{suffix}",
            self.own.directory,
            validation,
            test,
            self.seed,
        )

    def predictions(self, split: str, dataset: Dataset, store: Predictions, device: torch.device) -> Predictions:
        """As they were stored before; made, and stored, where they are not, or not whole, or another checkpoint's.

        ``store`` has the trial's own predictions.
        """
        path = self.own.directory / snapshot_file(self.snapshot, split)
        meta = {**store.meta, "checkpoint": self.digest, "raw": str(self.snapshot.is_raw), "data": dataset.fingerprint}
        with suppress(StorageError):
            if (stored := load_predictions(path)).meta == meta:
                return stored
        try:
            found = score_split([self._member(dataset, device)], dataset, store, device)
        except MemberScoreError as error:
            raise DataError(self.path, str(error)) from error
        save_predictions(path, replace(found, meta=meta))
        return load_predictions(path)  # mapped, where the others fill memory

    def _member(self, dataset: Dataset, device: torch.device) -> MemberModel:
        config = load_trial_config(self.own.directory)
        parameters = trial_model(self.path, self.digest, config, is_raw=self.snapshot.is_raw).parameters
        model = build_member(config, dataset.schema, parameters, self.path).to(device)
        return MemberModel(self.own.name, config, model, weight=1.0, seed=self.seed)
