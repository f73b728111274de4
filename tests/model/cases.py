"""Batches and contracts for model tests."""

import torch

from dmlray.data.schema import Modality, Schema

FRAME_SCHEMA = Schema(
    level="frame",
    modalities=(
        Modality(name="visual", feature="rgb", width=6, dtype="uint8"),
        Modality(name="audio", feature="audio", width=3, dtype="uint8"),
    ),
    classes=5,
)
VIDEO_SCHEMA = Schema(
    level="video",
    modalities=(
        Modality(name="visual", feature="mean_rgb", width=6, dtype="float32"),
        Modality(name="audio", feature="mean_audio", width=3, dtype="float32"),
    ),
    classes=5,
)


def mask_of(lengths):
    """(B, T) bool: True on the first ``lengths[i]`` frames of video i."""
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def random_frames(lengths, dim, seed):
    """frames (B, T, D) float32, noise on padding too, and mask (B, T)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(lengths), max(lengths), dim, generator=generator), mask_of(lengths)


def random_features(schema, lengths, seed):
    """features {modality: (B, T, D)} as the schema stores them, noise on padding too, and mask (B, T)."""
    generator = torch.Generator().manual_seed(seed)
    features = {}
    for modality in schema.modalities:
        shape = (len(lengths), max(lengths), modality.width)
        if modality.dtype == "uint8":
            features[modality.name] = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        else:
            features[modality.name] = torch.randn(shape, generator=generator)
    return features, mask_of(lengths)


def seeded(make, *args, seed=0):
    """What ``make`` builds when torch's generator starts at ``seed``; the generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(*args)


def unreached(module):
    """Names of parameters that the last backward pass did not reach."""
    return [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()]
