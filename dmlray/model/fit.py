"""Do the parts of a configuration fit each other and the data? Each check raises ConfigError naming the field."""

from dmlray.config import CrossModalFusion, NextVladPooling, Pooling, TransformerEncoder, TrialConfig
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
