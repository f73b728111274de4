"""Mixing and modality dropout do what they say, and nothing outside training."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from dmlray.config import TrialConfig
from dmlray.model.build import build_model
from dmlray.model.disturb import Mixing, ModalityDropout, draw_mixing
from tests.model.cases import FRAME_SCHEMA, random_features, seeded

CPU = torch.device("cpu")


@settings(max_examples=15)
@given(probability=st.floats(0.0, 0.95), modalities=st.integers(1, 3), seed=st.integers(0, 99))
def test_a_video_never_loses_all_its_modalities(probability, modalities, seed):
    frames = {f"m{number}": torch.ones(20, 3, 2) for number in range(modalities)}
    dropped = seeded(ModalityDropout(probability), frames, seed=seed)
    kept = torch.stack([values.flatten(1).amax(dim=1) for values in dropped.values()], dim=1)
    assert torch.equal(kept, torch.stack([values.flatten(1).amin(dim=1) for values in dropped.values()], dim=1))
    assert (kept.amax(dim=1) == 1).all()


@pytest.mark.parametrize("probability", [0.2, 0.6])
def test_modalities_are_dropped_as_often_as_asked(probability):
    frames = {name: torch.ones(20_000, 1, 1) for name in ("visual", "audio")}
    dropped = seeded(ModalityDropout(probability), frames)
    expected = probability - probability**2 / 2  # where both would go, either stays
    for values in dropped.values():
        assert float((values == 0).float().mean()) == pytest.approx(expected, abs=0.02)


def test_nothing_is_dropped_in_evaluation():
    frames = {"visual": torch.ones(8, 1, 1), "audio": torch.ones(8, 1, 1)}
    assert ModalityDropout(0.9).eval()(frames) is frames


@settings(max_examples=15)
@given(alpha=st.sampled_from([0.1, 0.4, 1.0, 8.0]), videos=st.integers(0, 9), seed=st.integers(0, 99))
def test_every_video_is_the_partner_of_one(alpha, videos, seed):
    mixing = seeded(draw_mixing, videos, alpha, CPU, seed=seed)
    assert sorted(mixing.partner.tolist()) == list(range(videos))
    assert ((mixing.share >= 0) & (mixing.share <= 1)).all()


def test_shares_are_of_a_beta_distribution():
    share = seeded(draw_mixing, 50_000, 0.4, CPU).share
    assert float(share.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(share.var()) == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.005)


@pytest.mark.parametrize("fusion", ["concat", "early", "late"])
def test_mixed_videos_of_different_lengths_ignore_padding(fusion):
    config = TrialConfig.model_validate({"encoder": {"kind": "gru", "hidden": 4}, "fusion": {"kind": fusion}})
    model = seeded(build_model, config, FRAME_SCHEMA)
    features, mask = random_features(FRAME_SCHEMA, [5, 2, 4], seed=1)
    mixing = Mixing(torch.tensor([1, 2, 0]), torch.tensor([0.3, 1.0, 0.6]))
    other = {name: values.masked_fill(~mask[..., None], 255) for name, values in features.items()}
    logits = model(features, mask, mixing).logits
    assert_close(model(other, mask, mixing).logits, logits)
    alone = model(features, mask).logits
    assert_close(logits[1], alone[1])
    if fusion != "early":  # from pooled vectors on, these models are linear
        assert_close(logits[0], 0.3 * alone[0] + 0.7 * alone[1], rtol=1e-4, atol=1e-5)
