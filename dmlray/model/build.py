"""From a trial's configuration and its data's schema to a model; what does not fit is refused before it is queued."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from dmlray.config import RecurrentEncoder, TrialConfig
from dmlray.data.schema import Modality, Schema
from dmlray.errors import ConfigError
from dmlray.model.attention_clusters import AttentionClustersPool
from dmlray.model.chain import ChainedHead
from dmlray.model.classifier import Classifier, ModelOutput, Tower
from dmlray.model.clusters import SoftDbofPool
from dmlray.model.convolution import ConvolutionStack
from dmlray.model.cross_modal import CrossModalFusion
from dmlray.model.encoder import BagOfFrames, Encoder, RecurrentStack, ResidualStack
from dmlray.model.fit import check_heads, check_pooling, check_single_vectors, check_training
from dmlray.model.frames import FrameInput
from dmlray.model.fusion import ConcatFusion, Fusion, GatedFusion, ProjectionFusion, SharedSpaceFusion
from dmlray.model.gating import ClassGate, ContextGate
from dmlray.model.head import LateHead, LogisticHead, MixtureHead
from dmlray.model.hidden import PerceptronLayer, ResidualLayers
from dmlray.model.pooling import AttentionPool, LastPool, MaxPool, MeanPool, Pooling
from dmlray.model.sru import SruStack
from dmlray.model.statistics import StatisticsPool
from dmlray.model.transformer import TransformerStack
from dmlray.model.vlad import NetFisherPool, NetVladPool, NextVladPool

ENCODERS: dict[str, Callable[[int, Any], Encoder]] = {
    "none": lambda dim, cfg: BagOfFrames(dim),
    "lstm": lambda dim, cfg: _recurrent(nn.LSTM, dim, cfg),
    "gru": lambda dim, cfg: _recurrent(nn.GRU, dim, cfg),
    "sru": lambda dim, cfg: SruStack(dim, cfg.hidden, cfg.layers, cfg.bidirectional, cfg.dropout),
    "convolution": lambda dim, cfg: ConvolutionStack(dim, cfg.hidden, cfg.layers, cfg.reach, cfg.dropout),
    "transformer": lambda dim, cfg: TransformerStack(dim, cfg.hidden, cfg.layers, cfg.heads, cfg.dropout),
}

POOLINGS: dict[str, Callable[[Encoder, Any], Pooling]] = {
    "mean": lambda encoder, cfg: MeanPool(encoder.dim),
    "max": lambda encoder, cfg: MaxPool(encoder.dim),
    "last": lambda encoder, cfg: LastPool(encoder.dim, encoder.forward_dim),
    "attention": lambda encoder, cfg: AttentionPool(encoder.dim),
    "statistics": lambda encoder, cfg: StatisticsPool(encoder.dim, cfg.top),
    "dbof": lambda encoder, cfg: SoftDbofPool(encoder.dim, cfg.clusters, cfg.dim),
    "netvlad": lambda encoder, cfg: NetVladPool(encoder.dim, cfg.clusters, cfg.dim),
    "netfv": lambda encoder, cfg: NetFisherPool(encoder.dim, cfg.clusters, cfg.dim),
    "nextvlad": lambda encoder, cfg: NextVladPool(encoder.dim, cfg.clusters, cfg.groups, cfg.expansion, cfg.dim),
    "attention_clusters": lambda encoder, cfg: AttentionClustersPool(encoder.dim, cfg.clusters, cfg.dim),
}

FUSIONS: dict[str, Callable[[Sequence[int], Any], Fusion]] = {
    "early": lambda dims, cfg: ConcatFusion(dims),  # its one tower has joined the modalities already
    "concat": lambda dims, cfg: ConcatFusion(dims),
    "shared": lambda dims, cfg: SharedSpaceFusion(dims, cfg.dim, cfg.init_std),
    "projection": lambda dims, cfg: ProjectionFusion(dims, cfg.dim, cfg.penalty, cfg.init_std),
    "late": lambda dims, cfg: ConcatFusion(dims),  # `LateHead` takes them apart again
    "gated": lambda dims, cfg: GatedFusion(dims),
    "cross_modal": lambda dims, cfg: CrossModalFusion(dims, cfg.dim, cfg.heads),
}

HEADS: dict[str, Callable[[int, int, Any], nn.Module]] = {
    "logistic": lambda dim, classes, cfg: LogisticHead(dim, classes, cfg.dropout),
    "mixture": lambda dim, classes, cfg: MixtureHead(dim, classes, cfg.experts, cfg.dropout),
    "chained": lambda dim, classes, cfg: ChainedHead(dim, classes, cfg.links, cfg.link_dim, cfg.experts, cfg.dropout),
}


def build_model(config: TrialConfig, schema: Schema) -> Classifier:
    """The model that ``config`` describes, for data of ``schema``.

    Parameters are drawn from torch's global generator and from nothing else: call it under ``torch.random.fork_rng()``
    and ``torch.manual_seed(seed)``. Raises ConfigError naming the field when parts do not fit.
    """
    modalities = _chosen_modalities(config, schema)
    if schema.level == "video":
        check_single_vectors(config)
    check_heads(config)
    check_training(config, [modality.name for modality in modalities])
    groups = [modalities] if config.fusion.kind == "early" else [(modality,) for modality in modalities]
    towers, dims = [], []
    for group in groups:
        encoder = ENCODERS[config.encoder.kind](sum(modality.width for modality in group), config.encoder)
        check_pooling(config.pooling, encoder.dim)
        pooling = POOLINGS[config.pooling.kind](encoder, config.pooling)
        towers.append(Tower([modality.name for modality in group], encoder, pooling))
        dims.append(pooling.dim)
    fusion = FUSIONS[config.fusion.kind](dims, config.fusion)
    if config.fusion.kind == "late":
        head: nn.Module = LateHead(dims, [_build_head(config, dim, schema.classes) for dim in dims])
    else:
        head = _build_head(config, fusion.dim, schema.classes)
    ranges = {modality.name: (modality.minimum, modality.maximum) for modality in modalities}
    lengths = dict(zip(ranges, config.modality_lengths or (), strict=False))
    frames = FrameInput(ranges, config.l2_normalize, config.component_decay, lengths)
    return Classifier(frames, towers, fusion, head, config.modality_dropout)


def check_buildable(config: TrialConfig, schema: Schema) -> None:
    """Build the model and run two frames through it on the meta device: no memory, no numbers, 10 to 50 milliseconds.

    Raises ConfigError as `build_model` does, and when a tensor is larger than any can be. torch's generator is left
    as it was.
    """
    steps = 1 if schema.level == "video" else 2
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            features = {
                modality.name: torch.empty(2, steps, modality.width, dtype=getattr(torch, modality.dtype))
                for modality in schema.modalities
            }
            model = build_model(config, schema)
            output: ModelOutput = model(features, torch.ones(2, steps, dtype=torch.bool))
    except RuntimeError as error:  # torch's word for sizes that overflow
        sizes = config.model_dump(include={"encoder", "pooling", "fusion", "hidden", "head"})
        raise ConfigError("the sizes of the model", sizes, f"such that it can be built ({error})") from error
    assert output.logits.shape == (2, schema.classes)
    assert output.penalty.shape == ()


def _recurrent(cell: type[nn.LSTM] | type[nn.GRU], dim: int, config: RecurrentEncoder) -> Encoder:
    stack = ResidualStack if config.residual else RecurrentStack
    return stack(cell, dim, config.hidden, config.layers, config.bidirectional, config.dropout)


def _build_head(config: TrialConfig, dim: int, classes: int) -> nn.Module:
    """The head, behind its hidden layers and between its gates, if it has any."""
    hidden, gating = config.hidden, config.head.gating
    before: list[nn.Module] = []
    if hidden.kind == "perceptron":
        before.append(PerceptronLayer(dim, hidden.dim, hidden.dropout, hidden.input_dropout))
        dim = hidden.dim
    elif hidden.kind == "residual":
        before.append(ResidualLayers(dim, hidden.dim, hidden.layers, hidden.dropout))
        dim = hidden.dim
    if gating in ("before", "both"):
        before.append(ContextGate(dim))
    head = HEADS[config.head.kind](dim, classes, config.head)
    after = [ClassGate(classes)] if gating in ("after", "both") else []
    return nn.Sequential(*before, head, *after) if before or after else head


def _chosen_modalities(config: TrialConfig, schema: Schema) -> tuple[Modality, ...]:
    """What ``config`` asks for, in the order of the schema."""
    known = [modality.name for modality in schema.modalities]
    wanted = known if config.modalities is None else list(config.modalities)
    if not wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(known):
        expected = f"one or more different names out of {', '.join(known)}, which the data has"
        raise ConfigError("modalities", config.modalities, expected)
    return tuple(modality for modality in schema.modalities if modality.name in wanted)
