"""Raw features to frames: the official formula, blank padding, frames of length 1."""

import numpy as np
import torch
from torch.testing import assert_close

from dmlray.model.frames import FrameInput, dequantize
from tests.model.cases import FRAME_SCHEMA, VIDEO_SCHEMA, random_features

RANGES = {"visual": (-2.0, 2.0), "audio": (-2.0, 2.0)}


def test_dequantize_is_the_official_formula():
    values = np.arange(256)
    expected = torch.from_numpy(values * (4.0 / 255.0) + (4.0 / 512.0 - 2.0)).float()
    found = dequantize(torch.arange(256, dtype=torch.uint8), -2.0, 2.0)
    assert_close(found, expected)
    assert (found[0].item(), found[255].item()) == (-1.9921875, 2.0078125)


def test_padding_is_exactly_0():
    features, mask = random_features(FRAME_SCHEMA, [2, 4], seed=0)
    for l2_normalize in (False, True):
        frames = FrameInput(RANGES, l2_normalize)(features, mask)
        assert all((values[~mask] == 0).all() for values in frames.values())


def test_a_frame_has_length_1_over_its_modalities_together():
    features, mask = random_features(FRAME_SCHEMA, [2, 4], seed=0)
    frames = FrameInput(RANGES, l2_normalize=True)(features, mask)
    joined = torch.cat(list(frames.values()), dim=-1)
    raw = torch.cat([dequantize(features[name], -2.0, 2.0) for name in RANGES], dim=-1)
    assert_close(joined.norm(dim=-1), mask.float())
    assert_close(joined[mask], torch.nn.functional.normalize(raw[mask], dim=-1))


def test_float_features_are_taken_as_they_are_and_left_as_they_were():
    features, mask = random_features(VIDEO_SCHEMA, [1, 1], seed=0)
    before = {name: values.clone() for name, values in features.items()}
    frames = FrameInput(RANGES, l2_normalize=False)(features, mask)
    for name in RANGES:
        assert_close(frames[name], before[name])
        assert_close(features[name], before[name])


def test_a_frame_of_zeros_stays_0():
    features = {"visual": torch.zeros(1, 1, 6), "audio": torch.zeros(1, 1, 3)}
    frames = FrameInput(RANGES, l2_normalize=True)(features, torch.ones(1, 1, dtype=torch.bool))
    assert not frames["visual"].any()


def test_component_decay_shrinks_later_components_before_the_length_is_taken():
    features, mask = random_features(FRAME_SCHEMA, [2, 4], seed=0)
    plain = FrameInput(RANGES, l2_normalize=False)(features, mask)
    shrunk = FrameInput(RANGES, l2_normalize=False, component_decay=0.5)(features, mask)
    for name, values in plain.items():
        assert_close(shrunk[name], values / torch.arange(1.0, values.shape[-1] + 1).sqrt())
    joined = torch.cat(list(FrameInput(RANGES, True, 0.5)(features, mask).values()), dim=-1)
    assert_close(joined[mask], torch.nn.functional.normalize(torch.cat(list(shrunk.values()), dim=-1)[mask], dim=-1))


def test_modality_lengths_are_those_of_each_frame_of_the_modality_before_the_whole_is_scaled():
    features, mask = random_features(FRAME_SCHEMA, [2, 4], seed=0)
    plain = FrameInput(RANGES, l2_normalize=False)(features, mask)
    scaled = FrameInput(RANGES, l2_normalize=False, modality_lengths={"audio": 0.5})(features, mask)
    assert_close(scaled["audio"], 0.5 * torch.nn.functional.normalize(plain["audio"], dim=-1))
    assert_close(scaled["visual"], plain["visual"])
    both = FrameInput(RANGES, l2_normalize=True, modality_lengths={"visual": 1.0, "audio": 0.5})(features, mask)
    assert_close(both["audio"][mask].norm(dim=-1), torch.full((6,), 0.2**0.5))
    assert not both["audio"][~mask].any()
