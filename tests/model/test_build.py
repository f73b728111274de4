"""What the builder refuses, and how it says so."""

import pytest

from dmlray.config import TrialConfig
from dmlray.errors import ConfigError
from dmlray.model.build import build_model, check_buildable
from tests.model.cases import FRAME_SCHEMA, VIDEO_SCHEMA

MISFITS = {
    "recurrent encoder on single vectors": (VIDEO_SCHEMA, {"encoder": {"kind": "lstm"}}, "encoder.kind", "'lstm'"),
    "attention over single vectors": (VIDEO_SCHEMA, {"pooling": {"kind": "attention"}}, "pooling.kind", "'attention'"),
    "last of single vectors": (VIDEO_SCHEMA, {"pooling": {"kind": "last"}}, "pooling.kind", "'last'"),
    "clusters of single vectors": (
        VIDEO_SCHEMA,
        {"pooling": {"kind": "netvlad"}},
        "pooling.kind",
        "'netvlad'",
    ),
    "groups that do not divide the frames": (
        FRAME_SCHEMA,
        {"pooling": {"kind": "nextvlad", "groups": 8}},
        "pooling.groups",
        "6 features of its frames = 12, got 8",
    ),
    "heads that do not divide the fusion": (
        VIDEO_SCHEMA,
        {"fusion": {"kind": "cross_modal", "dim": 6, "heads": 4}},
        "fusion.heads",
        "divisor of fusion.dim = 6, got 4",
    ),
    "heads that do not divide the encoder": (
        FRAME_SCHEMA,
        {"encoder": {"kind": "transformer", "hidden": 10, "heads": 4}},
        "encoder.heads",
        "divisor of encoder.hidden = 10, got 4",
    ),
    "a modality to drop, of one": (
        FRAME_SCHEMA,
        {"modalities": ["audio"], "modality_dropout": 0.2},
        "modality_dropout",
        "0 with one modality (audio), which is never left out, got 0.2",
    ),
    "too few lengths": (
        FRAME_SCHEMA,
        {"modality_lengths": [1.0]},
        "modality_lengths",
        "a length for each of visual, audio, got [1.0]",
    ),
    "more checkpoints than epochs": (FRAME_SCHEMA, {"average_last": 6}, "average_last", "at most epochs = 5, got 6"),
    "videos to mix, one by one": (FRAME_SCHEMA, {"mixup": 0.2, "batch_size": 1}, "mixup", "none to mix with, got 0.2"),
    "a teacher that is not there": (
        FRAME_SCHEMA,
        {"loss": {"distillation": {"predictions": "/nowhere/predictions.arrow"}}},
        "loss.distillation.predictions",
        "/nowhere/predictions.arrow",
    ),
    "a warm-up longer than its cosine": (
        FRAME_SCHEMA,
        {"optimizer": {"kind": "adamw", "warmup_examples": 90, "schedule": {"kind": "cosine", "examples": 80}}},
        "optimizer.warmup_examples",
        "optimizer.schedule.examples = 80, where the cosine ends, got 90",
    ),
    "frames of single vectors": (
        VIDEO_SCHEMA,
        {"frames": {"select": "random", "count": 30}},
        "frames.select",
        "'random'",
    ),
    "unknown modality": (FRAME_SCHEMA, {"modalities": ["visual", "text"]}, "modalities", "text"),
    "no modality": (FRAME_SCHEMA, {"modalities": []}, "modalities", "()"),
    "a modality twice": (FRAME_SCHEMA, {"modalities": ["audio", "audio"]}, "modalities", "audio"),
}


@pytest.mark.parametrize("refuse", [build_model, check_buildable])
@pytest.mark.parametrize(("schema", "fields", "field", "found"), MISFITS.values(), ids=MISFITS)
def test_parts_that_do_not_fit_are_refused_by_name(refuse, schema, fields, field, found):
    with pytest.raises(ConfigError) as refusal:
        refuse(TrialConfig.model_validate(fields), schema)
    assert refusal.value.field == field
    assert found in str(refusal.value)


def test_the_names_that_are_known_are_told():
    with pytest.raises(ConfigError, match="visual, audio"):
        check_buildable(TrialConfig(modalities=("rgb",)), FRAME_SCHEMA)


def test_sizes_beyond_any_tensor_are_refused():
    config = TrialConfig.model_validate({"encoder": {"kind": "gru", "hidden": 10**12}})
    with pytest.raises(ConfigError, match="1000000000000"):
        check_buildable(config, FRAME_SCHEMA)


def test_the_dry_build_takes_no_memory():
    config = TrialConfig.model_validate({"encoder": {"kind": "gru", "hidden": 10**6}})  # 24 TB of parameters
    check_buildable(config, FRAME_SCHEMA)


def test_early_fusion_runs_one_encoder_over_all_modalities():
    fields = {"encoder": {"kind": "gru", "hidden": 4}}
    early = build_model(TrialConfig.model_validate(fields | {"fusion": {"kind": "early"}}), FRAME_SCHEMA)
    concat = build_model(TrialConfig.model_validate(fields | {"fusion": {"kind": "concat"}}), FRAME_SCHEMA)
    assert [tower.modalities for tower in early.towers] == [("visual", "audio")]
    assert [tower.modalities for tower in concat.towers] == [("visual",), ("audio",)]
