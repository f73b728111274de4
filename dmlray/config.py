"""What one trial trains: frozen models that refuse unknown keys and values out of range.

A misspelt hyperparameter must not quietly train the default, so ``extra="forbid"`` holds everywhere. Whether parts fit
each other is the builder's question (``model.build``), not asked here.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

Dropout = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
EmaDecay = Annotated[float, Field(gt=0.0, lt=1.0)]
Clusters = Annotated[int, Field(ge=4, le=65_536)]  # scores are normalised over them: of two, nothing but a sign is left

Gating = Literal["none", "before", "after", "both"]  # context gating of the head's vector, of its classes


class Config(BaseModel):
    """Base of every configuration: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FramesConfig(Config):
    """Which frames of a video a model sees. ``count`` is needed by every selection but ``all``."""

    select: Literal["all", "first", "uniform", "random", "window", "segments"] = "all"
    count: PositiveInt | None = None

    @model_validator(mode="after")
    def _count_fits(self) -> "FramesConfig":
        if (self.select == "all") != (self.count is None):
            raise ValueError("`count` goes with every selection but `all`")
        return self


class NoEncoder(Config):
    """Frames stay as they are: a bag of frames, or a video-level vector."""

    kind: Literal["none"] = "none"


class RecurrentEncoder(Config):
    """A stack of LSTM or GRU layers; ``hidden`` is the width of one direction, ``dropout`` acts between layers.

    ``residual``: each layer after the first adds to what it was given.
    """

    kind: Literal["lstm", "gru"]
    layers: PositiveInt = 1
    hidden: PositiveInt = 256
    bidirectional: bool = False
    dropout: Dropout = 0.0
    residual: bool = False


class SruEncoder(Config):
    """A stack of simple recurrent units; the fields are those of `RecurrentEncoder`."""

    kind: Literal["sru"] = "sru"
    layers: PositiveInt = 2
    hidden: PositiveInt = 256
    bidirectional: bool = False
    dropout: Dropout = 0.0


class ConvolutionEncoder(Config):
    """Residual blocks (``layers``) of ``hidden`` channels, whose convolutions see ``reach`` frames to either side."""

    kind: Literal["convolution"] = "convolution"
    layers: PositiveInt = 2
    hidden: PositiveInt = 256
    reach: PositiveInt = 1
    dropout: Dropout = 0.0


class TransformerEncoder(Config):
    """Self-attention layers of ``hidden`` features, which ``heads`` divides."""

    kind: Literal["transformer"] = "transformer"
    layers: PositiveInt = 2
    hidden: PositiveInt = 256
    heads: PositiveInt = 4
    dropout: Dropout = 0.1


class SimplePooling(Config):
    """Pooling without parameters."""

    kind: Literal["mean", "max", "last"] = "mean"


class AttentionPooling(Config):
    """Softmax-weighted mean over frames."""

    kind: Literal["attention"] = "attention"


class StatisticsPooling(Config):
    """Mean, standard deviation and the ``top`` largest values of each feature."""

    kind: Literal["statistics"] = "statistics"
    top: Annotated[int, Field(ge=0, le=300)] = 0


class ClusterPooling(Config):
    """Pooling over learned ``clusters``, compressed to ``dim``."""

    kind: Literal["dbof", "netvlad", "netfv", "attention_clusters"]
    clusters: Clusters = 64
    dim: PositiveInt = 1024


class NextVladPooling(Config):
    """NetVLAD over ``groups`` of frames widened by ``expansion``, compressed to ``dim``."""

    kind: Literal["nextvlad"] = "nextvlad"
    clusters: Clusters = 64
    groups: PositiveInt = 8
    expansion: PositiveInt = 2
    dim: PositiveInt = 1024


class EarlyFusion(Config):
    """Modalities side by side in every frame, before one encoder that all share: cheaper than one each."""

    kind: Literal["early"] = "early"


class ConcatFusion(Config):
    """Modalities side by side, after an encoder and a pooling each."""

    kind: Literal["concat"] = "concat"


class SharedFusion(Config):
    """Modalities mapped into one space of ``dim`` and summed there.

    The maps start as normal(0, ``init_std``); None: as linear layers do, within 1 / sqrt(their input's width).
    """

    kind: Literal["shared"] = "shared"
    dim: PositiveInt = 512
    init_std: PositiveFloat | None = None


class ProjectionFusion(Config):
    """Each modality projected to ``dim``; ``penalty`` weighs the L2 term that pulls the projections together.

    ``init_std`` is that of `SharedFusion`; 0.01 is the paper's.
    """

    kind: Literal["projection"] = "projection"
    dim: PositiveInt = 512
    init_std: PositiveFloat | None = 0.01
    penalty: Annotated[float, Field(ge=0.0)] = 0.01


class LateFusion(Config):
    """Each modality classified by itself, after an encoder and a pooling each, and the logits averaged."""

    kind: Literal["late"] = "late"


class GatedFusion(Config):
    """Modalities side by side, through context gating."""

    kind: Literal["gated"] = "gated"


class CrossModalFusion(Config):
    """Modalities mapped to ``dim`` each, looking at one another through an attention of several ``heads``."""

    kind: Literal["cross_modal"] = "cross_modal"
    dim: PositiveInt = 512
    heads: PositiveInt = 4


class LogisticHead(Config):
    """One linear layer to the classes."""

    kind: Literal["logistic"] = "logistic"
    dropout: Dropout = 0.0
    gating: Gating = "none"


class MixtureHead(Config):
    """For each class a mixture of ``experts`` logistic regressions."""

    kind: Literal["mixture"] = "mixture"
    experts: PositiveInt = 2
    dropout: Dropout = 0.0
    gating: Gating = "none"


class ChainedHead(Config):
    """A chain of ``links`` mixtures; what each predicts is told to the next in ``link_dim`` numbers.

    The loss is 1 - ``support`` of that of the last and ``support`` of the mean of the others'.
    """

    kind: Literal["chained"] = "chained"
    links: Annotated[int, Field(ge=2, le=16)] = 3
    link_dim: PositiveInt = 128
    support: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    experts: PositiveInt = 2
    dropout: Dropout = 0.0
    gating: Gating = "none"


class NoHidden(Config):
    """The head sees the fused vector as it is."""

    kind: Literal["none"] = "none"


class PerceptronHidden(Config):
    """One layer of ``dim`` between the fused vector and the head; ``input_dropout`` acts before it."""

    kind: Literal["perceptron"] = "perceptron"
    dim: PositiveInt = 1024
    dropout: Dropout = 0.5
    input_dropout: Dropout = 0.0


class ResidualHidden(Config):
    """A perceptron of ``layers`` residual blocks of width ``dim`` between the fused vector and the head."""

    kind: Literal["residual"] = "residual"
    layers: PositiveInt = 1
    dim: PositiveInt = 1024
    dropout: Dropout = 0.0


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


Encoder = Annotated[
    NoEncoder | RecurrentEncoder | SruEncoder | ConvolutionEncoder | TransformerEncoder, Field(discriminator="kind")
]
Pooling = Annotated[
    SimplePooling | AttentionPooling | StatisticsPooling | ClusterPooling | NextVladPooling,
    Field(discriminator="kind"),
]
Fusion = Annotated[
    EarlyFusion | ConcatFusion | SharedFusion | ProjectionFusion | LateFusion | GatedFusion | CrossModalFusion,
    Field(discriminator="kind"),
]
Hidden = Annotated[NoHidden | PerceptronHidden | ResidualHidden, Field(discriminator="kind")]
Head = Annotated[LogisticHead | MixtureHead | ChainedHead, Field(discriminator="kind")]
Optimizer = Annotated[AdamConfig | AdamWConfig | ScheduleFreeConfig, Field(discriminator="kind")]


class TrialConfig(Config):
    """Everything that decides what a trial learns, apart from its data and its seed."""

    modalities: tuple[str, ...] | None = None  # None: all that the data has
    frames: FramesConfig = FramesConfig()
    l2_normalize: bool = True
    component_decay: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0  # of whitened components, see `model.frames`
    encoder: Encoder = NoEncoder()
    pooling: Pooling = SimplePooling()
    fusion: Fusion = ConcatFusion()
    hidden: Hidden = NoHidden()
    head: Head = LogisticHead()
    loss: LossConfig = LossConfig()
    average_last: PositiveInt = 1  # checkpoints whose mean stands for the last epoch, where it is better; 1: none
    mixup: Annotated[float, Field(ge=0.0)] = 0.0  # of pooled vectors, by shares from Beta(mixup, mixup); 0: none
    modality_dropout: Dropout = 0.0  # how often training blanks a modality of a video, never all of them
    optimizer: Optimizer = AdamConfig()
    batch_size: PositiveInt = 128
    micro_batch: PositiveInt | None = None  # videos of a batch at once, to save memory; None: all that memory holds
    precision: Literal["bfloat16", "float16", "float32"] = "bfloat16"  # on a GPU; a CPU computes in float32
    bucketing: bool = False  # batches of videos of like lengths: less padding, less variety within a batch
    keep: Literal["best", "last"] = "best"  # the epoch whose model is the trial's: best on validation, or the last
    epochs: PositiveInt = 5
