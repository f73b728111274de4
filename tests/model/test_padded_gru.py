"""A GRU over padded frames is the GRU over packed ones."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

from dmlray.model.padded_gru import padded_gru

LENGTHS = torch.tensor([3, 7, 1, 7, 5])


def packed_gru(cells: nn.GRU, frames: Tensor) -> Tensor:
    packed = pack_padded_sequence(frames, LENGTHS, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(cells(packed)[0], batch_first=True, total_length=frames.shape[1])[0]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("steps", [7, 9])
def test_equals_packed_states_and_gradients(layers: int, bidirectional: bool, steps: int) -> None:
    torch.manual_seed(0)
    cells = nn.GRU(4, 6, num_layers=layers, bidirectional=bidirectional, batch_first=True)
    frames = torch.randn(len(LENGTHS), steps, 4)
    mask = torch.arange(steps) < LENGTHS[:, None]
    weights = torch.randn(6 * (2 if bidirectional else 1))
    gradients = []
    for states in (padded_gru(cells, frames, mask), packed_gru(cells, frames)):
        gradients.append([*torch.autograd.grad((states * weights).sum(), list(cells.parameters())), states])
    for found, wanted in zip(*gradients, strict=True):
        assert_close(found, wanted)


def test_dropout_acts_between_layers_in_training_only() -> None:
    torch.manual_seed(0)
    cells = nn.GRU(4, 6, num_layers=2, dropout=0.9, batch_first=True)
    frames, mask = torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    assert not torch.equal(padded_gru(cells, frames, mask), padded_gru(cells, frames, mask))
    cells.eval()
    assert_close(padded_gru(cells, frames, mask), cells(frames)[0])
