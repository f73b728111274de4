"""Heads and gates give log-odds: of the probabilities that their definitions give, and finite where those round."""

import pytest
import torch
from torch.testing import assert_close

from dmlray.model.gating import ClassGate
from dmlray.model.head import LateHead, LogisticHead, MixtureHead
from tests.model.cases import seeded


def vectors(scale=1.0):
    return scale * torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("experts", [1, 2, 4])
def test_a_mixture_equals_the_starter_code(experts):
    head = seeded(MixtureHead, 6, 5, experts, 0.0).double()
    vector = vectors().double()
    gates = (vector @ head.gates.weight.T).reshape(-1, experts + 1).softmax(dim=1)
    votes = head.experts(vector).reshape(-1, experts).sigmoid()
    probabilities = (gates[:, :experts] * votes).sum(dim=1).reshape(4, 5)
    assert_close(head(vector).sigmoid(), probabilities.float())


@pytest.mark.parametrize("make", [lambda: MixtureHead(6, 5, 2, 0.0), lambda: ClassGate(6)], ids=["mixture", "gate"])
def test_log_odds_and_their_gradients_stay_finite(make):
    layer, vector = seeded(make), vectors(1e4).requires_grad_()
    logits = layer(vector)
    logits.sum().backward()
    assert logits.isfinite().all()
    assert logits.abs().max() > 200  # far beyond where float32 probabilities are 0 or 1
    assert all(p.grad.isfinite().all() for p in [vector, *layer.parameters()])


def test_a_class_gate_multiplies_probabilities():
    gate, logits = seeded(ClassGate, 6), vectors()
    probabilities = logits.sigmoid()
    gates = torch.sigmoid(probabilities @ gate.gates.weight.T + gate.gates.bias)
    assert_close(gate(logits).sigmoid(), gates * probabilities)


def test_a_mixture_starts_near_the_prior():
    probabilities = seeded(MixtureHead, 6, 3862, 2, 0.0)(vectors(0.1)).sigmoid()
    assert_close(probabilities.sum(dim=1), torch.full((4,), 3.0), rtol=0, atol=0.1)


def test_late_logits_are_the_mean_of_each_modality_by_itself():
    heads = [seeded(LogisticHead, dim, 5, 0.0) for dim in (4, 2)]
    vector = vectors()
    expected = (heads[0](vector[:, :4]) + heads[1](vector[:, 4:])) / 2
    assert_close(LateHead([4, 2], heads)(vector), expected)
