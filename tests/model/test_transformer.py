"""Self-attention and convolutions over time."""

import math

import pytest
import torch
from torch.testing import assert_close

from dmlray.model.convolution import ConvolutionStack, ResidualBlock
from dmlray.model.transformer import TransformerLayer, TransformerStack, sinusoids
from tests.model.cases import random_frames, seeded
from tests.model.encoders import EncoderContract

pytestmark = pytest.mark.thorough


class TestTransformer(EncoderContract):
    def make(self, dim):
        return TransformerStack(dim, hidden=6, layers=2, heads=2, dropout=0.0)

    def test_knows_the_order_of_frames(self):
        encoder = seeded(self.make, 4)
        frames, mask = random_frames([4], dim=4, seed=0)
        assert not torch.allclose(encoder(frames.flip(1), mask).flip(1), encoder(frames, mask), atol=0.01)


class TestConvolution(EncoderContract):
    def make(self, dim):
        return ConvolutionStack(dim, hidden=6, layers=2, reach=2, dropout=0.0)

    def test_sees_as_far_as_it_reaches(self):
        encoder = seeded(lambda: ConvolutionStack(4, hidden=6, layers=1, reach=1, dropout=0.0))
        frames, mask = random_frames([9], dim=4, seed=0)
        changed = frames.clone()
        changed[:, 4] += 1
        moved = (encoder(frames, mask) != encoder(changed, mask))[0].any(dim=1)
        assert moved.tolist() == [2 <= t <= 6 for t in range(9)]


def test_a_transformer_layer_equals_its_equations():
    layer = seeded(TransformerLayer, 6, 2, 0.0)
    frames, mask = random_frames([3, 5], dim=6, seed=0)
    x = frames[0, :3]
    query, key, value = layer.read(layer.norm(x)).split(6, dim=1)
    heads = []
    for part in (slice(0, 3), slice(3, 6)):
        scores = query[:, part] @ key[:, part].T / math.sqrt(3)
        heads.append(scores.softmax(dim=1) @ value[:, part])
    x = x + layer.write(torch.cat(heads, dim=1))
    assert_close(layer(frames, mask)[0, :3], x + layer.feed(x))


@pytest.mark.parametrize("dim", [4, 5])
def test_positions_are_those_of_the_paper(dim):
    waves = sinusoids(7, dim, torch.device("cpu"))
    expected = [
        [(math.cos if i % 2 else math.sin)(t / 10_000 ** (2 * (i // 2) / dim)) for i in range(dim)] for t in range(7)
    ]
    assert_close(waves, torch.tensor(expected))


def test_a_residual_block_equals_its_equations():
    block = seeded(ResidualBlock, 6, 1, 0.0)
    frames, mask = random_frames([3], dim=6, seed=0)
    inner = frames[0]
    for norm, convolution in zip(block.norms, block.convolutions, strict=True):
        padded = torch.nn.functional.pad(norm(inner).relu(), (0, 0, 1, 1))
        inner = torch.stack([sum(convolution.weight[..., k] @ padded[t + k] for k in range(3)) for t in range(3)])
        inner = inner if convolution.bias is None else inner + convolution.bias
    assert_close(block(frames, mask)[0], frames[0] + inner)
