"""Weights as 8-bit integers: which are exact, and how near the others come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frugalseg.quant import ChannelLayout, Method, QuantizedTensor, level_table
from frugalseg.quant.int8 import int8_weights


def few_bit(
    method: Method, bits: int, codes: list[list[int]], scale: list[float], negative: list[float] | None = None
) -> QuantizedTensor:
    """A weight of shape (rows, columns, 1, 1) with one scale for each row, or one for all."""
    array = np.array(codes, dtype=np.uint8)[:, :, None, None]
    layout = ChannelLayout.of(array.shape, "channel" if len(scale) > 1 else "layer")
    return QuantizedTensor(
        bits=bits,
        codes=array,
        levels=level_table(method, bits),
        scale=np.array(scale, dtype=np.float32),
        layout=layout,
        negative_scale=None if negative is None else np.array(negative, dtype=np.float32),
    )


def code_of(method: Method, bits: int, *levels: float) -> list[int]:
    table = level_table(method, bits).tolist()
    return [table.index(level) for level in levels]


def test_inq_is_exact_up_to_seven_exponents() -> None:
    near = code_of("inq", 5, 1.0, -0.5, 0.0, 2.0**-6, -(2.0**-3))
    tensor = few_bit("inq", 5, [near], [0.25])
    found = int8_weights(tensor)
    assert found.values.ravel().tolist() == [64, -32, 0, 1, -8]
    assert found.scale.tolist() == [0.25 * 2.0**-6]
    assert found.exact.all()
    assert found.relative_rmse == 0


def test_inq_beyond_seven_exponents_is_near_and_says_so() -> None:
    tensor = few_bit("inq", 5, [code_of("inq", 5, 1.0, -1.0, 2.0**-7, 0.0)], [1.0])
    found = int8_weights(tensor)
    assert not found.exact.any()
    error = np.abs(found.values.ravel() * found.scale[0] - tensor.dequantize().ravel())
    assert error.max() <= 1.0 / 127
    assert found.relative_rmse == pytest.approx(np.sqrt((error**2).mean() / (2 + 2.0**-14) * 4), rel=1e-5)


@pytest.mark.parametrize(
    ("method", "bits"),
    [("twn", 2), *(("dorefa", b) for b in range(1, 8)), *(("lsq", b) for b in range(2, 9))],
)
def test_methods_that_are_8_bit_integers_already(method: Method, bits: int) -> None:
    n = len(level_table(method, bits))
    codes = np.random.default_rng(0).integers(0, n, (5, 64))
    codes[:, :n] = np.arange(n)[:64]  # every level where there is room
    codes[0, 0], codes[0, 1] = 0, n - 1
    tensor = few_bit(method, bits, codes.tolist(), [0.3, 0.0137, 1.0, 7.7, 1e-3])
    found = int8_weights(tensor)
    assert found.exact.all()
    again = found.values.astype(np.float32) * found.scale[:, None, None, None]
    assert (again == tensor.dequantize()).all()


def test_dorefa_with_8_bits_and_ttq_do_not_fit() -> None:
    assert not int8_weights(few_bit("dorefa", 8, [[0, 255, 128]], [0.1])).exact.any()
    assert not int8_weights(few_bit("ttq", 2, [[0, 1, 2]], [0.3], [0.2])).exact.any()
    assert int8_weights(few_bit("ttq", 2, [[0, 1, 2]], [0.2], [0.2])).exact.all()


def test_a_channel_of_zeros_and_one_scale_for_a_layer() -> None:
    found = int8_weights(few_bit("twn", 2, [[1, 1, 1], [0, 1, 2]], [0.5]))
    assert found.values[..., 0, 0].tolist() == [[0, 0, 0], [-1, 0, 1]]
    assert found.exact.all()


def test_output_channels_of_a_transposed_convolution() -> None:
    weights = np.zeros((2, 3, 1, 1), dtype=np.float32)
    weights[:, 0], weights[:, 1], weights[:, 2] = 127.0, 1.27, -0.0127
    found = int8_weights(weights, axis=1)
    np.testing.assert_allclose(found.scale, [1.0, 0.01, 0.0001], rtol=1e-6)
    assert found.values[0, :, 0, 0].tolist() == [127, 127, -127]


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1.0, 3.0]))
@settings(max_examples=60, deadline=None)
def test_float_weights_come_no_further_than_by_rounding_to_the_largest(seed: int, tail: float) -> None:
    rng = np.random.default_rng(seed)
    weights = (rng.normal(0, 1, (3, 50, 1, 1)) * np.exp(tail * rng.normal(0, 1, (3, 50, 1, 1)))).astype(np.float32)
    found = int8_weights(weights)
    rows = weights.reshape(3, -1)
    naive = np.abs(rows).max(axis=1, keepdims=True) / 127
    ours = ((found.values.reshape(3, -1) * found.scale[:, None] - rows) ** 2).sum(axis=1)
    theirs = ((np.rint(rows / naive) * naive - rows) ** 2).sum(axis=1)
    assert (ours <= theirs * 1.0001).all()
    assert np.abs(found.values.astype(int)).max() <= 127
