"""The parts of a model: frames, encoder, pooling, fusion, hidden layers, head."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from dmlray.config.base import Config, Dropout

Clusters = Annotated[int, Field(ge=4, le=65_536)]  # scores are normalised over them: of two, nothing but a sign is left

Gating = Literal["none", "before", "after", "both"]  # context gating of the head's vector, of its classes


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
