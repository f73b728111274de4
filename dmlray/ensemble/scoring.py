"""Dense scores of an ensemble: the weighted mean of its members' probabilities for every class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmlray.config import FramesConfig, TrialConfig
from dmlray.data.batch import Batch, Collator
from dmlray.data.gather import VideoStore
from dmlray.data.schema import Schema
from dmlray.model.classifier import Classifier

_DRAWN = ("random", "window", "segments")  # selections of frames that depend on a seed


@dataclass(frozen=True)
class MemberModel:
    """A member ready to predict. ``seed`` draws its frames, where its selection of frames draws any."""

    name: str
    config: TrialConfig
    model: Classifier
    weight: float
    temperature: float = 1.0
    seed: int = 0


class MemberScoreError(FloatingPointError):
    """A member gives a score that is not a number; the message names it."""


class Scorer:
    """Scores videos of a store on one device. Members that see the same frames share them. One per thread.

    In float32, also on a GPU: bfloat16 has so few digits that scores would tie.
    """

    def __init__(self, members: Sequence[MemberModel], schema: Schema, device: torch.device) -> None:
        self._members, self._device = members, device
        views = {member.name: _view(member) for member in members}
        self._views = [views[member.name] for member in members]
        self._collators = {view: Collator(schema, view[0], view[1], view[2], pinned=False) for view in self._views}

    def score(self, store: VideoStore, indices: NDArray[np.int64]) -> Tensor:
        """Scores (B, C) float32 of the videos ``indices`` (B,), on the device.

        Raises MemberScoreError where a member's score is NaN.
        """
        with torch.inference_mode():
            batches = {view: self._batch(view, store, indices) for view in self._collators}
            total: Tensor | None = None
            for member, view in zip(self._members, self._views, strict=True):
                part = self._probabilities(member, batches[view]) * member.weight
                total = part if total is None else total.add_(part)
            assert total is not None, "an ensemble has members"
            return total.clamp_(max=1.0)  # weights sum to 1 up to rounding

    def _batch(self, view: "View", store: VideoStore, indices: NDArray[np.int64]) -> Batch:
        (batch,) = self._collators[view].batches(store, [indices], 0)
        return batch.to(self._device)

    def _probabilities(self, member: MemberModel, batch: Batch) -> Tensor:
        logits = member.model(batch.features, batch.mask).logits.float()
        if bool(torch.isnan(logits).any()):
            raise MemberScoreError(f"member {member.name} gives scores that are not numbers")
        return torch.sigmoid(logits if member.temperature == 1.0 else logits / member.temperature)


def best_device() -> torch.device:
    """A GPU where this process sees one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


View = tuple[FramesConfig, tuple[str, ...] | None, int]


def _view(member: MemberModel) -> View:
    """What a member sees of a video."""
    frames = member.config.frames
    return frames, member.config.modalities, member.seed if frames.select in _DRAWN else 0
