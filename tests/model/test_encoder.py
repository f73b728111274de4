"""What every encoder promises, and what the recurrent ones compute."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from dmlray.model.encoder import BagOfFrames, RecurrentStack, ResidualStack
from tests.model.cases import random_frames, seeded
from tests.model.encoders import EncoderContract


class TestBagOfFrames(EncoderContract):
    def make(self, dim):
        return BagOfFrames(dim)


class TestLstm(EncoderContract):
    def make(self, dim):
        return RecurrentStack(nn.LSTM, dim, hidden=3, layers=1, bidirectional=False, dropout=0.5)

    def test_forget_gates_start_open(self):
        cells = self.make(4).cells
        for gate, expected in (("bias_ih_l0", 1.0), ("bias_hh_l0", 0.0)):
            assert getattr(cells, gate)[3:6].tolist() == [expected] * 3


class TestBidirectionalLstmStack(EncoderContract):
    def make(self, dim):
        return RecurrentStack(nn.LSTM, dim, hidden=3, layers=2, bidirectional=True, dropout=0.5)


class TestGruStack(EncoderContract):
    def make(self, dim):
        return RecurrentStack(nn.GRU, dim, hidden=3, layers=3, bidirectional=False, dropout=0.0)


class TestBidirectionalGru(EncoderContract):
    def make(self, dim):
        return RecurrentStack(nn.GRU, dim, hidden=3, layers=1, bidirectional=True, dropout=0.0)


class TestResidualGru(EncoderContract):
    def make(self, dim):
        return ResidualStack(nn.GRU, dim, hidden=3, layers=3, bidirectional=True, dropout=0.0)

    def test_each_layer_adds_to_what_it_was_given(self):
        encoder = seeded(self.make, 4)
        frames, mask = random_frames([3, 5], dim=4, seed=0)
        first = encoder.first(frames, mask)
        second = first + encoder.others[0](first, mask)
        assert_close(encoder(frames, mask), second + encoder.others[1](second, mask))


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_forward_columns_know_the_past_and_backward_columns_the_future(cell):
    encoder = seeded(lambda: RecurrentStack(cell, 4, hidden=3, layers=1, bidirectional=True, dropout=0.0))
    frames, mask = random_frames([5], dim=4, seed=0)
    changed = frames.clone()
    changed[:, 2] += 1
    moved = (encoder(frames, mask) != encoder(changed, mask))[0]
    assert encoder.forward_dim == 3
    assert moved[:, :3].any(dim=1).tolist() == [False, False, True, True, True]
    assert moved[:, 3:].any(dim=1).tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_acts_between_layers_only(layers):
    encoder = seeded(lambda: RecurrentStack(nn.GRU, 4, hidden=8, layers=layers, bidirectional=False, dropout=0.5))
    frames, mask = random_frames([4], dim=4, seed=0)
    outputs = [seeded(encoder, frames, mask, seed=seed) for seed in (0, 1)]
    assert torch.equal(*outputs) == (layers == 1)


def test_a_gru_equals_its_equations():
    """Cho et al. (2014) in the form that cuDNN computes, one step at a time."""
    encoder = seeded(lambda: RecurrentStack(nn.GRU, 4, hidden=3, layers=1, bidirectional=False, dropout=0.0))
    frames, mask = random_frames([5], dim=4, seed=2)
    cell = encoder.cells
    state = torch.zeros(3)
    for step, x in enumerate(frames[0]):
        reset_x, update_x, new_x = (cell.weight_ih_l0 @ x + cell.bias_ih_l0).chunk(3)
        reset_h, update_h, new_h = (cell.weight_hh_l0 @ state + cell.bias_hh_l0).chunk(3)
        update = torch.sigmoid(update_x + update_h)
        new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
        state = (1 - update) * new + update * state
        assert_close(encoder(frames, mask)[0, step], state)
