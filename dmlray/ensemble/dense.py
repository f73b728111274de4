"""Blends computed from the members' full outputs; stores of 50 classes a video only estimate them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from dmlray.data.dataset import Dataset
from dmlray.data.predictions import Predictions
from dmlray.data.ragged import Ragged
from dmlray.ensemble.candidates import Candidate
from dmlray.ensemble.combine import KEEP
from dmlray.ensemble.members import build_member, evaluation_seed, load_trial_model
from dmlray.ensemble.origin import snapshot_of
from dmlray.ensemble.precision import Precision, compressed, restored, stored_bytes
from dmlray.ensemble.scoring import MemberModel, Scorer
from dmlray.errors import DataError
from dmlray.metrics.top import top_k

BATCH_VIDEOS = 128


@dataclass
class DenseBlender:
    """Runs members over ``splits`` (validation, test or both) of the data that they were trained on.

    ``seed`` is the sweep's. Models stay loaded from one blend to the next.
    """

    splits: Mapping[str, Dataset]
    seed: int
    device: torch.device
    _models: dict[tuple[int, Precision], MemberModel] = field(default_factory=dict)

    def blend(
        self,
        members: Sequence[Candidate],
        weights: Sequence[float],
        temperatures: Sequence[float],
        precision: Precision = "float32",
    ) -> dict[str, Predictions]:
        """The 50 best classes of the weighted mean of all classes' probabilities, for each split that all members have.

        Members predict as a package does that stores them in ``precision``.

        Raises StorageError where a trial's checkpoint is missing or damaged, DataError where the data are not those
        that the members' stores hold.
        """
        models = [self._model(precision, *member) for member in zip(members, weights, temperatures, strict=True)]
        tested = all(member.test is not None for member in members)
        stores = {"validation": members[0].validation, "test": members[0].test if tested else None}
        return {
            split: score_split(models, dataset, store, self.device)
            for split, dataset in self.splits.items()
            if (store := stores.get(split)) is not None
        }

    def mb(self, members: Sequence[Candidate], precision: Precision) -> float:
        """The size of the members' parameters as ``precision`` stores them, in MB; they have been blended before."""
        models = [self._model("float32", member, 1.0, 1.0).model for member in members]
        return sum(stored_bytes(dict(model.named_parameters()), precision) for model in models) / 1e6

    def _model(self, precision: Precision, candidate: Candidate, weight: float, temperature: float) -> MemberModel:
        found = self._models.get((candidate.trial, precision))
        if found is None:
            trial = load_trial_model(candidate.directory, snapshot_of(candidate.trial))
            schema = next(iter(self.splits.values())).schema
            parameters = restored(compressed(trial.parameters, precision))
            model = build_member(trial.config, schema, parameters, candidate.directory).to(self.device)
            seed = evaluation_seed(self.seed, candidate.trial) if candidate.seed is None else candidate.seed
            found = MemberModel(candidate.name, trial.config, model, weight, temperature, seed)
            self._models[candidate.trial, precision] = found
        return MemberModel(f"{candidate.trial}", found.config, found.model, weight, temperature, found.seed)


def score_split(
    models: Sequence[MemberModel], dataset: Dataset, store: Predictions, device: torch.device
) -> Predictions:
    """The 50 best classes of what ``models`` give together for the videos of ``dataset``; ids and truth are those of
    ``store``, which holds the same videos.

    Raises DataError where it does not, MemberScoreError where a score is NaN.
    """
    if list(dataset.ids) != store.ids.tolist():
        raise DataError(dataset.path, "holds other videos than the members' predictions: convert it as it was")
    scorer = Scorer(models, dataset.schema, device)
    labels, scores = [], []
    for first in range(0, len(dataset), BATCH_VIDEOS):
        indices = np.arange(first, min(first + BATCH_VIDEOS, len(dataset)))
        best = top_k(scorer.score(dataset, indices), KEEP)
        labels.append(best[0].cpu().numpy().astype(np.int32))
        scores.append(best[1].cpu().numpy())
    truth = Ragged(store.truth.offsets, store.truth.values)
    return Predictions(store.ids, np.concatenate(labels), np.concatenate(scores), truth, store.classes)
