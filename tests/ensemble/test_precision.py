"""Fewer bits: what every precision promises, and what each may cost a value."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from dmlray.ensemble.precision import PRECISIONS, Precision, compressed, restored, stored_bytes

SHARED = settings(suppress_health_check=[HealthCheck.differing_executors])  # one law, a class for each precision
Shapes = st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(1, 5), max_size=3), max_size=4)


def parameters_of(shapes: dict[str, list[int]], seed: int, scale: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = {f"layer.{name}": scale * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return found | {"layer.count": torch.tensor(7), "layer.zero": torch.zeros(2, 3)}


class PrecisionContract:
    """What holds for every precision; ``moved`` bounds how far a value of ``tensor`` may be from what it was."""

    precision: Precision

    def moved(self, tensor: Tensor) -> Tensor:
        raise NotImplementedError

    @SHARED
    @given(shapes=Shapes, seed=st.integers(0, 99), scale=st.sampled_from([1e-3, 1.0, 300.0]))
    def test_nothing_moves_further_than_promised(self, shapes: dict[str, list[int]], seed: int, scale: float) -> None:
        before = parameters_of(shapes, seed, scale)
        after = restored(compressed(before, self.precision))
        assert after.keys() == before.keys()
        for name, tensor in before.items():
            assert (after[name].shape, after[name].dtype) == (tensor.shape, tensor.dtype)
            assert bool(((after[name] - tensor).abs() <= self.moved(tensor)).all())

    @SHARED
    @given(shapes=Shapes, seed=st.integers(0, 99))
    def test_sizes_are_those_of_what_is_stored(self, shapes: dict[str, list[int]], seed: int) -> None:
        before = parameters_of(shapes, seed, 1.0)
        stored = compressed(before, self.precision)
        assert stored_bytes(before, self.precision) == sum(t.numel() * t.element_size() for t in stored.values())

    def test_a_file_holds_it(self, tmp_path: Path) -> None:
        before = parameters_of({"a": [4, 3], "b": [5]}, 1, 1.0)
        stored = {name: tensor.contiguous() for name, tensor in compressed(before, self.precision).items()}
        safetensors.torch.save_file(stored, tmp_path / "m.safetensors")
        after, wanted = restored(safetensors.torch.load_file(tmp_path / "m.safetensors")), restored(stored)
        assert all(torch.equal(after[name], wanted[name]) for name in before)


class TestFloat32(PrecisionContract):
    precision: Precision = "float32"

    def moved(self, tensor: Tensor) -> Tensor:
        return torch.zeros_like(tensor)


class TestFloat16(PrecisionContract):
    precision: Precision = "float16"

    def moved(self, tensor: Tensor) -> Tensor:
        return tensor.abs() * 2.0**-11 + 2.0**-25  # half a unit in the last place; below 2^-14 they are 2^-24 apart

    def test_what_a_half_cannot_hold_stays_as_it_is(self) -> None:
        large = {"a": torch.tensor([1.0, 1e5])}
        assert torch.equal(restored(compressed(large, "float16"))["a"], large["a"])


class TestInt8(PrecisionContract):
    precision: Precision = "int8"

    def moved(self, tensor: Tensor) -> Tensor:
        if tensor.ndim < 2:
            return torch.zeros_like(tensor)
        step = tensor.abs().flatten(1).amax(1).reshape(-1, *[1] * (tensor.ndim - 1)) / 127
        return (step * (0.5 + 1e-4)).expand_as(tensor)

    def test_a_matrix_without_scales_is_refused(self) -> None:
        stored = compressed({"a": torch.ones(3, 2)}, "int8")
        lacking = {name: tensor for name, tensor in stored.items() if "scale" not in name}
        for altered in (lacking, stored | {"scale/a": torch.ones(2)}):
            with pytest.raises(ValueError, match="the matrix a has no scale for each of its rows"):
                restored(altered)


def test_fewer_bits_are_smaller() -> None:
    sizes = [stored_bytes({"weight": torch.ones(64, 64), "bias": torch.ones(64)}, one) for one in PRECISIONS]
    assert sizes == [4 * 64 * 65, 2 * 64 * 65, 64 * 64 + 4 * 64 + 4 * 64]
