"""The contract of every model: every encoder with every pooling, and with every fusion, at both levels."""

import itertools

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from dmlray.config import TrialConfig
from dmlray.data.schema import PRESETS
from dmlray.model.build import build_model, check_buildable
from tests.model.cases import FRAME_SCHEMA, VIDEO_SCHEMA, random_features, seeded, unreached

ENCODERS = [
    {"kind": "none"},
    {"kind": "lstm", "hidden": 4},
    {"kind": "gru", "hidden": 4, "layers": 2, "bidirectional": True},
]
OTHER_ENCODERS = [
    {"kind": "lstm", "hidden": 4, "layers": 2, "residual": True},
    {"kind": "sru", "hidden": 4, "bidirectional": True},
    {"kind": "convolution", "hidden": 4},
    {"kind": "transformer", "hidden": 4, "heads": 2, "dropout": 0.0},
]
POOLINGS = ["mean", "max", "last", "attention"]
FRAME_POOLINGS = [
    {"kind": "statistics", "top": 2},
    *({"kind": kind, "clusters": 4, "dim": 7} for kind in ("dbof", "netvlad", "netfv", "attention_clusters")),
    {"kind": "nextvlad", "clusters": 4, "groups": 3, "expansion": 2, "dim": 7},
]
FUSIONS = [
    {"kind": "early"},
    {"kind": "concat"},
    {"kind": "shared", "dim": 7},
    {"kind": "projection", "dim": 7, "penalty": 0.5},
    {"kind": "late"},
    {"kind": "gated"},
    {"kind": "cross_modal", "dim": 6, "heads": 2},
]
HEADS = [
    {"kind": "mixture", "experts": 3, "gating": "none"},
    {"kind": "logistic", "gating": "before"},
    {"kind": "mixture", "experts": 1, "gating": "both"},
    {"kind": "chained", "links": 3, "link_dim": 6, "gating": "after"},
]
PERCEPTRON = {"kind": "perceptron", "dim": 8, "input_dropout": 0.3}
HIDDEN = {"kind": "residual", "dim": 8, "layers": 2}


def config_of(encoder, pooling, fusion, **others):
    pooling = {"kind": pooling} if isinstance(pooling, str) else pooling
    return TrialConfig.model_validate({"encoder": encoder, "pooling": pooling, "fusion": fusion} | others)


EVERY_POOLING = itertools.chain(
    itertools.product(ENCODERS, POOLINGS, FUSIONS[1:2]),
    itertools.product(OTHER_ENCODERS, ["last"], FUSIONS[1:2]),
    itertools.product(ENCODERS[:1], FRAME_POOLINGS, FUSIONS[1:2]),
)
EVERY_FUSION = itertools.product(ENCODERS[2:], ["attention"], FUSIONS[:1] + FUSIONS[2:])
CASES = [
    *((config_of(*parts), FRAME_SCHEMA) for parts in itertools.chain(EVERY_POOLING, EVERY_FUSION)),
    *((config_of({"kind": "none"}, "mean", fusion), VIDEO_SCHEMA) for fusion in FUSIONS),
    *((config_of({"kind": "none"}, "mean", FUSIONS[1], head=head), VIDEO_SCHEMA) for head in HEADS),
    (config_of({"kind": "none"}, "mean", {"kind": "late"}, head=HEADS[-1]), VIDEO_SCHEMA),
    (config_of({"kind": "none"}, "mean", {"kind": "late"}, hidden=HIDDEN, head=HEADS[1]), VIDEO_SCHEMA),
    (config_of({"kind": "none"}, "mean", {"kind": "concat"}, hidden=PERCEPTRON, head=HEADS[0]), VIDEO_SCHEMA),
    (config_of(ENCODERS[2], "attention", FUSIONS[1], hidden=HIDDEN, head=HEADS[-1]), FRAME_SCHEMA),
]
NAMES = ["-".join([s.level, *(getattr(c, p).kind for p in ("encoder", "pooling", "fusion", "head"))]) for c, s in CASES]


@pytest.fixture(params=CASES, ids=NAMES)
def case(request):
    """(model ready to predict, features, mask): videos of 5, 2 and 4 frames, or of one vector."""
    config, schema = request.param
    lengths = [5, 2, 4] if schema.level == "frame" else [1, 1, 1]
    return seeded(build_model, config, schema).eval(), *random_features(schema, lengths, seed=1)


def test_gives_a_logit_per_class(case):
    model, features, mask = case
    output = model(features, mask)
    assert output.logits.shape == (3, 5)
    assert output.logits.dtype == torch.float32
    assert output.penalty.shape == ()


def test_ignores_padding(case):
    model, features, mask = case
    other = {name: values.masked_fill(~mask[..., None], 255) for name, values in features.items()}
    longer = {name: torch.nn.functional.pad(values, (0, 0, 0, 3), value=7) for name, values in other.items()}
    logits = model(features, mask).logits
    assert_close(model(other, mask).logits, logits)
    assert_close(model(longer, torch.nn.functional.pad(mask, (0, 3))).logits, logits)


def test_ignores_the_order_of_the_batch(case):
    model, features, mask = case
    order = torch.tensor([2, 0, 1])
    output = model({name: values[order] for name, values in features.items()}, mask[order])
    assert_close(output.logits, model(features, mask).logits[order])
    assert_close(output.penalty, model(features, mask).penalty)


def test_gradients_reach_every_parameter(case):
    model, features, mask = case
    model.train()
    output = model(features, mask)
    (output.logits.square().sum() + output.penalty).backward()
    assert unreached(model) == []


@pytest.mark.thorough
def test_works_in_half_precision_as_gpus_train(case):
    model, features, mask = case
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(features, mask)
    (output.logits.float().square().sum() + output.penalty).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert_close(output.logits.float(), model(features, mask).logits, rtol=0.1, atol=0.1)


def test_saved_and_loaded_gives_the_same_output(case, tmp_path, request):
    model, features, mask = case
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    other = seeded(build_model, *request.node.callspec.params["case"], seed=9).eval()
    assert not torch.equal(other(features, mask).logits, model(features, mask).logits)
    other.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(other(features, mask).logits, model(features, mask).logits)


@pytest.mark.parametrize(("config", "schema"), CASES, ids=NAMES)
def test_the_seed_decides_the_parameters(config, schema):
    first, again = (seeded(build_model, config, schema, seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize(("config", "schema"), CASES, ids=NAMES)
@pytest.mark.thorough
def test_passes_the_dry_build_which_leaves_the_generator_alone(config, schema):
    before = torch.get_rng_state()
    check_buildable(config, schema)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: fusion["kind"])
@pytest.mark.parametrize("modality", ["visual", "audio"])
def test_one_modality_alone_works(fusion, modality):
    config = config_of(ENCODERS[2], "attention", fusion, modalities=[modality])
    features, mask = random_features(FRAME_SCHEMA, [4, 2], seed=0)
    check_buildable(config, FRAME_SCHEMA)
    output = seeded(build_model, config, FRAME_SCHEMA)({modality: features[modality]}, mask)
    assert output.logits.shape == (2, 5)
    assert output.penalty == 0


@pytest.mark.parametrize("preset", sorted(PRESETS))
@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda fusion: fusion["kind"])
def test_genuine_sizes_work(preset, fusion):
    schema = PRESETS[preset]
    encoder = {"kind": "gru", "hidden": 16} if schema.level == "frame" else {"kind": "none"}
    config = config_of(encoder, "mean", fusion)
    check_buildable(config, schema)
    model = seeded(build_model, config, schema)
    features, mask = random_features(schema, [3, 1] if schema.level == "frame" else [1, 1], seed=0)
    assert model(features, mask).logits.shape == (2, schema.classes)


def test_logits_start_near_the_prior():
    model = seeded(build_model, TrialConfig(), PRESETS["yt8m-video"])
    features, mask = random_features(PRESETS["yt8m-video"], [1] * 8, seed=0)
    assert_close(model(features, mask).logits.sigmoid().sum(dim=1), torch.full((8,), 3.0), rtol=0, atol=0.1)


def test_dropout_is_off_in_evaluation():
    config = TrialConfig.model_validate({"head": {"kind": "logistic", "dropout": 0.5}})
    model = seeded(build_model, config, VIDEO_SCHEMA)
    features, mask = random_features(VIDEO_SCHEMA, [1, 1], seed=0)
    assert not torch.equal(model(features, mask).logits, model(features, mask).logits)
    model.eval()
    assert torch.equal(model(features, mask).logits, model(features, mask).logits)
