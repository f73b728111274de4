"""Simple recurrent units, one step at a time."""

import torch
from torch.testing import assert_close

from dmlray.model.sru import SruStack
from tests.model.cases import random_frames, seeded
from tests.model.encoders import EncoderContract


class TestSru(EncoderContract):
    def make(self, dim):
        return SruStack(dim, hidden=3, layers=2, bidirectional=False, dropout=0.0)


class TestBidirectionalSru(EncoderContract):
    def make(self, dim):
        return SruStack(dim, hidden=3, layers=2, bidirectional=True, dropout=0.0)


def equations(layer, frames):
    """Lei et al. (2018), with a highway that is projected and scaled by sqrt(3)."""
    candidate, forget, reset, highway = layer.project.weight.chunk(4)
    state, outputs = torch.zeros(3), []
    for x in frames:
        keep = torch.sigmoid(forget @ x + layer.state_weights[0] * state + layer.biases[0])
        gate = torch.sigmoid(reset @ x + layer.state_weights[1] * state + layer.biases[1])
        state = keep * state + (1 - keep) * (candidate @ x)
        outputs.append(gate * state + (1 - gate) * (highway @ x) * 3**0.5)
    return torch.stack(outputs)


def test_equals_its_equations_in_both_directions():
    encoder = seeded(lambda: SruStack(4, hidden=3, layers=1, bidirectional=True, dropout=0.0))
    frames, mask = random_frames([3, 5], dim=4, seed=0)
    forward, backward = encoder.layers[0]
    torch.nn.init.normal_(forward.biases, generator=torch.Generator().manual_seed(0))
    real = frames[0, :3]
    assert_close(encoder(frames, mask)[0, :3, :3], equations(forward, real))
    assert_close(encoder(frames, mask)[0, :3, 3:], equations(backward, real.flip(0)).flip(0))
