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
from dmlray.ensemble.scoring import MemberModel, Scorer
from dmlray.errors import DataError
from dmlray.metrics.top import top_k

BATCH_VIDEOS = 128


@dataclass
class DenseBlender:
    """Runs members over ``splits`` (validation, perhaps test) of the data that they were trained on.

    ``seed`` is the sweep's. Models stay loaded from one blend to the next.
    """

    splits: Mapping[str, Dataset]
    seed: int
    device: torch.device
    _models: dict[int, MemberModel] = field(default_factory=dict)

    def blend(
        self, members: Sequence[Candidate], weights: Sequence[float], temperatures: Sequence[float]
    ) -> dict[str, Predictions]:
        """The 50 best classes of the weighted mean of all classes' probabilities, for each split that all members have.

        Raises StorageError where a trial's checkpoint is missing or damaged, DataError where the data are not those
        that the members' stores hold.
        """
        models = [self._model(*member) for member in zip(members, weights, temperatures, strict=True)]
        tested = all(member.test is not None for member in members)
        stores = {"validation": members[0].validation, "test": members[0].test if tested else None}
        return {
            split: self._score(models, dataset, store)
            for split, dataset in self.splits.items()
            if (store := stores.get(split)) is not None
        }

    def _model(self, candidate: Candidate, weight: float, temperature: float) -> MemberModel:
        found = self._models.get(candidate.trial)
        if found is None:
            trial = load_trial_model(candidate.directory)
            schema = self.splits["validation"].schema
            model = build_member(trial.config, schema, trial.parameters, candidate.directory).to(self.device)
            seed = evaluation_seed(self.seed, candidate.trial)
            found = MemberModel(candidate.name, trial.config, model, weight, temperature, seed)
            self._models[candidate.trial] = found
        return MemberModel(f"{candidate.trial}", found.config, found.model, weight, temperature, found.seed)

    def _score(self, models: Sequence[MemberModel], dataset: Dataset, store: Predictions) -> Predictions:
        if list(dataset.ids) != store.ids.tolist():
            raise DataError(dataset.path, "holds other videos than the members' predictions: convert it as it was")
        scorer = Scorer(models, dataset.schema, self.device)
        labels, scores = [], []
        for first in range(0, len(dataset), BATCH_VIDEOS):
            indices = np.arange(first, min(first + BATCH_VIDEOS, len(dataset)))
            best = top_k(scorer.score(dataset, indices), KEEP)
            labels.append(best[0].cpu().numpy().astype(np.int32))
            scores.append(best[1].cpu().numpy())
        truth = Ragged(store.truth.offsets, store.truth.values)
        return Predictions(store.ids, np.concatenate(labels), np.concatenate(scores), truth, store.classes)
