"""Everything that one trial learns by."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError

from dmlray.config.base import Config, Dropout
from dmlray.config.learning import AdamConfig, LossConfig, Optimizer
from dmlray.config.model import (
    ConcatFusion,
    Encoder,
    FramesConfig,
    Fusion,
    Head,
    Hidden,
    LogisticHead,
    NoEncoder,
    NoHidden,
    Pooling,
    SimplePooling,
)


class TrialConfig(Config):
    """Everything that decides what a trial learns, apart from its data and its seed."""

    modalities: tuple[str, ...] | None = None  # None: all that the data has
    frames: FramesConfig = FramesConfig()
    l2_normalize: bool = True
    modality_lengths: tuple[PositiveFloat, ...] | None = None  # to which each modality's frames are scaled before
    component_decay: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0  # of whitened components, see `model.frames`
    encoder: Encoder = NoEncoder()
    pooling: Pooling = SimplePooling()
    fusion: Fusion = ConcatFusion()
    hidden: Hidden = NoHidden()
    head: Head = LogisticHead()
    loss: LossConfig = LossConfig()
    snapshots: PositiveInt = 1  # epochs whose checkpoints stay once it has ended: the best, or the last; see `keep`
    average_last: PositiveInt = 1  # checkpoints whose mean stands for the last epoch, where it is better; 1: none
    mixup: Annotated[float, Field(ge=0.0)] = 0.0  # of pooled vectors, by shares from Beta(mixup, mixup); 0: none
    modality_dropout: Dropout = 0.0  # how often training blanks a modality of a video, never all of them
    optimizer: Optimizer = AdamConfig()
    batch_size: PositiveInt = 128
    micro_batch: PositiveInt | None = None  # videos of a batch at once, to save memory; None: all that memory holds
    precision: Literal["bfloat16", "float16", "float32"] = "bfloat16"  # on a GPU; a CPU computes in float32
    compile: bool = False  # the forward pass by torch.compile: on a CPU it costs more than it gains (README, Decisions)
    bucketing: bool = False  # batches of videos of like lengths: less padding, less variety within a batch
    keep: Literal["best", "last"] = "best"  # the epoch whose model is the trial's: best on validation, or the last
    epochs: PositiveInt = 5


def in_full(config: Mapping[str, Any]) -> dict[str, Any]:
    """A TrialConfig as JSON that may come from an older version: fields that are newer have their defaults.

    What is no TrialConfig stays as it is.
    """
    try:
        return TrialConfig.model_validate(config).model_dump(mode="json")
    except ValidationError:
        return dict(config)
