"""What every fusion promises, and what each one computes."""

import pytest
import torch
from torch.testing import assert_close

from dmlray.model.cross_modal import CrossModalFusion
from dmlray.model.fusion import ConcatFusion, GatedFusion, ProjectionFusion, SharedSpaceFusion
from tests.model.cases import seeded, unreached


def vectors(*dims):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(4, dim, generator=generator) for dim in dims]


class FusionContract:
    def make(self, dims):
        raise NotImplementedError

    @pytest.mark.parametrize("dims", [(6,), (6, 3), (6, 3, 2)])
    def test_fuses_any_number_of_modalities(self, dims):
        fusion = seeded(self.make, dims)
        fused = fusion(vectors(*dims))
        assert fused.vector.shape == (4, fusion.dim)
        assert fused.penalty.shape == ()
        assert (fused.penalty > 0) == (isinstance(fusion, ProjectionFusion) and len(dims) > 1)

    def test_videos_do_not_see_each_other(self):
        fusion = seeded(self.make, (6, 3))
        order = torch.tensor([2, 0, 3, 1])
        inputs = vectors(6, 3)
        assert_close(fusion([v[order] for v in inputs]).vector, fusion(inputs).vector[order])

    def test_gradients_reach_every_parameter_and_modality(self):
        fusion = seeded(self.make, (6, 3))
        inputs = [v.requires_grad_() for v in vectors(6, 3)]
        fusion(inputs).vector.square().sum().backward()
        assert unreached(fusion) == []
        assert all(v.grad.any() for v in inputs)


class TestConcat(FusionContract):
    def make(self, dims):
        return ConcatFusion(dims)

    def test_is_side_by_side(self):
        inputs = vectors(6, 3)
        assert_close(self.make((6, 3))(inputs).vector, torch.cat(inputs, dim=1))


class TestGated(FusionContract):
    def make(self, dims):
        return GatedFusion(dims)

    def test_lets_through_what_its_gates_say(self):
        fusion = seeded(self.make, (6, 3))
        joined = torch.cat(vectors(6, 3), dim=1)
        gates = torch.sigmoid(joined @ fusion.gate.gates.weight.T + fusion.gate.gates.bias)
        assert_close(fusion([joined[:, :6], joined[:, 6:]]).vector, gates * joined)


class TestCrossModal(FusionContract):
    def make(self, dims):
        return CrossModalFusion(dims, dim=4, heads=2)

    def test_equals_its_equations(self):
        fusion = seeded(self.make, (6, 3))
        inputs = vectors(6, 3)
        tokens = fusion.norm(torch.stack([layer(v[0]) for layer, v in zip(fusion.maps, inputs, strict=True)]))
        query, key, value = (fusion.read(tokens)[:, i : i + 4] for i in (0, 4, 8))
        heads = [
            torch.softmax(query[:, h : h + 2] @ key[:, h : h + 2].T / 2**0.5, dim=1) @ value[:, h : h + 2]
            for h in (0, 2)
        ]
        expected = tokens + fusion.write(torch.cat(heads, dim=1))
        assert_close(fusion(inputs).vector[0], expected.flatten())


class TestSharedSpace(FusionContract):
    def make(self, dims):
        return SharedSpaceFusion(dims, dim=5)

    def test_is_the_tanh_of_the_sum_of_the_maps(self):
        fusion = seeded(self.make, (6, 3))
        left, right = vectors(6, 3)
        assert_close(fusion([left, right]).vector, torch.tanh(fusion.maps[0](left) + fusion.maps[1](right)))


class TestProjection(FusionContract):
    def make(self, dims):
        return ProjectionFusion(dims, dim=5, penalty=0.3)

    def test_the_penalty_is_the_mean_squared_distance(self):
        fusion = seeded(self.make, (6, 3))
        left, right = vectors(6, 3)
        distances = [(fusion.maps[0](v) - fusion.maps[1](a)).pow(2).sum() for v, a in zip(left, right, strict=True)]
        assert_close(fusion([left, right]).penalty, 0.3 * sum(distances) / 4)

    def test_training_on_the_penalty_alone_brings_projections_together(self):
        fusion = seeded(self.make, (6, 3))
        optimizer = torch.optim.SGD(fusion.parameters(), lr=0.1)
        before = fusion(vectors(6, 3)).penalty.item()
        for _ in range(20):
            optimizer.zero_grad()
            fusion(vectors(6, 3)).penalty.backward()
            optimizer.step()
        assert fusion(vectors(6, 3)).penalty.item() < before / 2

    def test_weights_start_as_published(self):
        fusion = seeded(lambda: ProjectionFusion((1024,), dim=512, penalty=0.0))
        weights = fusion.maps[0].weight
        assert abs(weights.std().item() - 0.01) < 1e-4
        assert abs(weights.mean().item()) < 1e-4
