"""The loss of a batch with all that a configuration adds to it: mixed videos, a teacher, links of a chain."""

import torch
from torch import Tensor

from dmlray.config import TrialConfig
from dmlray.data.batch import Batch
from dmlray.model.classifier import ModelOutput
from dmlray.model.disturb import Mixing, draw_mixing
from dmlray.train.loss import Targets, label_targets, target_cross_entropy
from dmlray.train.teacher import Teacher


class Objective:
    """What a trial minimises, the mean over the videos of a batch. ``teacher`` belongs to a distillation."""

    def __init__(self, config: TrialConfig, teacher: Teacher | None) -> None:
        self._mixup, self._loss, self._teacher = config.mixup, config.loss, teacher
        self._support = config.head.support if config.head.kind == "chained" else 0.0

    def draw_mixing(self, videos: int, device: torch.device) -> Mixing | None:
        """Who is mixed with whom; None without mixup."""
        return draw_mixing(videos, self._mixup, device) if self._mixup else None

    def loss(self, output: ModelOutput, batch: Batch, mixing: Mixing | None) -> Tensor:
        """A float32 scalar; ``output`` is that of ``batch`` after ``mixing``.

        Raises DataError when the teacher lacks a video.
        """
        labels = _mixed(label_targets(batch.labels), mixing)
        taught = (
            None if self._teacher is None else _mixed(self._teacher.targets(batch.ids, batch.labels.device), mixing)
        )
        loss = self._of(output.logits, labels, taught)
        if output.others is not None and self._support:
            others = torch.stack([self._of(logits, labels, taught) for logits in output.others]).mean()
            loss = (1 - self._support) * loss + self._support * others
        return loss + output.penalty

    def _of(self, logits: Tensor, labels: Targets, taught: Targets | None) -> Tensor:
        own = target_cross_entropy(logits, labels, self._loss.label_smoothing, self._loss.positive_weight)
        distillation = self._loss.distillation
        if taught is None or distillation is None:
            return own
        heat = distillation.temperature
        copied = heat**2 * target_cross_entropy(logits / heat, taught)  # the square: so gradients keep their size
        return (1 - distillation.weight) * own + distillation.weight * copied


def _mixed(targets: Targets, mixing: Mixing | None) -> Targets:
    """The same shares of two videos' targets as of their vectors."""
    if mixing is None:
        return targets
    share = mixing.share[:, None]
    classes = torch.cat([targets.classes, targets.classes[mixing.partner]], dim=1)
    values = torch.cat([share * targets.values, (1 - share) * targets.values[mixing.partner]], dim=1)
    return Targets(classes, values)
