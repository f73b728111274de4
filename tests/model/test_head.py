"""Heads and gates give log-odds: of the probabilities that their definitions give, and finite where those round."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from dmlray.model.chain import ChainedHead
from dmlray.model.gating import ClassGate
from dmlray.model.head import LateHead, LogisticHead, MixtureHead
from dmlray.model.hidden import ResidualLayers
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


def test_a_chain_tells_each_link_what_the_others_predict():
    chain = seeded(ChainedHead, 6, 5, 3, 4, 2, 0.0)
    vector = vectors()
    first, second, third = chain(vector)
    assert_close(chain.mixtures[0](vector), first)
    told = [F.normalize(chain.maps[n](link.sigmoid()).relu(), dim=-1) for n, link in enumerate((first, second))]
    assert_close(chain.mixtures[1](torch.cat([vector, told[0]], dim=1)), second)
    assert_close(chain.mixtures[2](torch.cat([vector, *told], dim=1)), third)
    assert_close(chain.eval()(vector), third)


def test_blocks_of_hidden_layers_add_to_what_they_are_given():
    layers = seeded(ResidualLayers, 6, 8, 2, 0.5).eval()
    for block in layers.blocks:
        torch.nn.init.zeros_(block.layers[4].weight)
        torch.nn.init.zeros_(block.layers[4].bias)
    widened = layers.widen(vectors())
    assert_close(layers(vectors()), F.layer_norm(widened, (8,)).relu())
