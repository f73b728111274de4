"""How a model is trained: the loss, the schedule, the optimiser."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt

from dmlray.config.base import Config, Share

EmaDecay = Annotated[float, Field(gt=0.0, lt=1.0)]


class DistillationConfig(Config):
    """A teacher's stored predictions of the training videos as targets: Hinton et al. (2015, arXiv:1503.02531).

    The loss is 1 - ``weight`` of that of the labels and ``weight`` of that of the teacher, both softened by
    ``temperature``. ``predictions`` is a file as trials leave it, or a folder that `dmlray predict` filled, and holds
    every training video.
    """

    predictions: Annotated[str, AfterValidator(lambda path: str(Path(path).absolute()))]
    weight: Share = 0.5
    temperature: Annotated[float, Field(ge=1.0)] = 1.0


class LossConfig(Config):
    """Binary cross-entropy, summed over classes.

    ``label_smoothing`` e turns targets y into y (1 - e) + e / 2: among thousands of classes only a small one makes
    sense. A true label weighs ``positive_weight`` times as much as a false one.
    """

    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    positive_weight: PositiveFloat = 1.0
    distillation: DistillationConfig | None = None


class ConstantSchedule(Config):
    """The learning rate stays as it is."""

    kind: Literal["constant"] = "constant"


class StaircaseSchedule(Config):
    """The rate is multiplied by ``decay`` every ``decay_examples`` videos, as the official models have it.

    With ``flat_examples`` it is so every ``flat_examples`` videos once the training loss has flattened, as Zhao (2018)
    has it (40,000): once an epoch's mean loss is not at least the share ``flat_below`` lower than the one before.
    """

    kind: Literal["staircase"] = "staircase"
    decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.95
    decay_examples: PositiveInt = 4_000_000
    flat_examples: PositiveInt | None = None
    flat_below: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.01


class CosineSchedule(Config):
    """The rate falls along half a cosine to its share ``floor`` (Loshchilov and Hutter, 2017, arXiv:1608.03983).

    It gets there after ``examples`` videos; None: with the trial's last epoch.
    """

    kind: Literal["cosine"] = "cosine"
    examples: PositiveInt | None = None
    floor: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0


Schedule = Annotated[ConstantSchedule | StaircaseSchedule | CosineSchedule, Field(discriminator="kind")]


class AdamConfig(Config):
    """Adam (Kingma and Ba, 2015).

    The rate rises evenly over the first ``warmup_examples`` videos; gradients are clipped to the norm ``clip_norm``.
    With ``ema_decay`` the trial's model is the exponential moving average of the parameters (`train.averaging`).
    """

    kind: Literal["adam"] = "adam"
    learning_rate: PositiveFloat = 0.01
    schedule: Schedule = StaircaseSchedule()
    warmup_examples: NonNegativeInt = 0
    clip_norm: PositiveFloat | None = 1.0
    ema_decay: EmaDecay | None = None


class AdamWConfig(Config):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019), which spares biases and norms.

    Each step takes the share ``weight_decay`` times the rate off a weight. The other fields are those of `AdamConfig`.
    """

    kind: Literal["adamw"] = "adamw"
    learning_rate: PositiveFloat = 0.001
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    schedule: Schedule = CosineSchedule()
    warmup_examples: NonNegativeInt = 0
    clip_norm: PositiveFloat | None = 1.0
    ema_decay: EmaDecay | None = None


class ScheduleFreeConfig(Config):
    """AdamW without a schedule: the model is an average of all steps (Defazio et al., 2024, arXiv:2405.15682)."""

    kind: Literal["schedule_free"] = "schedule_free"
    learning_rate: PositiveFloat = 0.0025
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.0
    warmup_examples: NonNegativeInt = 0
    clip_norm: PositiveFloat | None = 1.0


Optimizer = Annotated[AdamConfig | AdamWConfig | ScheduleFreeConfig, Field(discriminator="kind")]
