"""Do the parts of a configuration fit each other and the data? Each check raises ConfigError naming the field."""

from collections.abc import Sequence
from pathlib import Path

from dmlray.config import CosineSchedule, CrossModalFusion, NextVladPooling, Pooling, TransformerEncoder, TrialConfig
from dmlray.data.predictions import prediction_files
from dmlray.errors import ConfigError


def check_single_vectors(config: TrialConfig) -> None:
    """Video-level data has one vector per video: nothing to run over, to pool or to select."""
    needed = {
        "encoder.kind": (config.encoder.kind, "none"),
        "pooling.kind": (config.pooling.kind, "mean"),
        "frames.select": (config.frames.select, "all"),
    }
    for field, (value, only) in needed.items():
        if value != only:
            raise ConfigError(field, value, f"{only!r} on video-level data, which has one vector per video, no frames")


def check_pooling(pooling: Pooling, dim: int) -> None:
    """Can frames of ``dim`` features be pooled so?"""
    if isinstance(pooling, NextVladPooling) and (pooling.expansion * dim) % pooling.groups:
        wide = f"pooling.expansion times the {dim} features of its frames = {pooling.expansion * dim}"
        raise ConfigError("pooling.groups", pooling.groups, f"a divisor of {wide}")


def check_heads(config: TrialConfig) -> None:
    """Do the heads of each attention divide its width?"""
    if isinstance(config.encoder, TransformerEncoder) and config.encoder.hidden % config.encoder.heads:
        raise ConfigError(
            "encoder.heads", config.encoder.heads, f"a divisor of encoder.hidden = {config.encoder.hidden}"
        )
    if isinstance(config.fusion, CrossModalFusion) and config.fusion.dim % config.fusion.heads:
        raise ConfigError("fusion.heads", config.fusion.heads, f"a divisor of fusion.dim = {config.fusion.dim}")


def check_training(config: TrialConfig, modalities: Sequence[str]) -> None:
    """Is there what training is to scale, to disturb, to learn from and to average?"""
    if config.modality_lengths is not None and len(config.modality_lengths) != len(modalities):
        expected = f"a length for each of {', '.join(modalities)}"
        raise ConfigError("modality_lengths", list(config.modality_lengths), expected)
    if config.modality_dropout and len(modalities) == 1:
        expected = f"0 with one modality ({modalities[0]}), which is never left out"
        raise ConfigError("modality_dropout", config.modality_dropout, expected)
    if config.mixup and min(config.batch_size, config.micro_batch or config.batch_size) == 1:
        raise ConfigError("mixup", config.mixup, "0 where videos come one by one: there is none to mix with")
    if config.average_last > config.epochs:
        raise ConfigError("average_last", config.average_last, f"at most epochs = {config.epochs}")
    distillation = config.loss.distillation
    if distillation is not None and not prediction_files(Path(distillation.predictions)):
        expected = "a file of predictions, or a folder where `dmlray predict` has left its own, and it is neither"
        raise ConfigError("loss.distillation.predictions", distillation.predictions, expected)
    schedule = getattr(config.optimizer, "schedule", None)
    warmup = config.optimizer.warmup_examples
    if isinstance(schedule, CosineSchedule) and schedule.examples is not None and warmup >= schedule.examples:
        expected = f"less than optimizer.schedule.examples = {schedule.examples}, where the cosine ends"
        raise ConfigError("optimizer.warmup_examples", warmup, expected)
