"""The official formula, and its inverse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmlray.data.quantize import dequantize, quantize

CODES = np.arange(256, dtype=np.uint8)


def test_formula_of_youtube_8m() -> None:
    np.testing.assert_allclose(dequantize(CODES), CODES * (4 / 255) + (4 / 512 - 2), rtol=1e-6, atol=1e-6)


@given(minimum=st.floats(-100, 99), span=st.floats(0.5, 200))
def test_quantize_inverts_it(minimum: float, span: float) -> None:
    values = dequantize(CODES, minimum, minimum + span)
    np.testing.assert_array_equal(quantize(values, minimum, minimum + span), CODES)


def test_values_beyond_the_range_take_its_ends() -> None:
    assert quantize(np.array([-9, 9], np.float32)).tolist() == [0, 255]


def test_half_a_step_is_the_largest_error() -> None:
    values = np.linspace(-1.99, 1.99, 999, dtype=np.float32)
    assert np.abs(dequantize(quantize(values)) - values).max() == pytest.approx(2 / 255, rel=0.02)
