"""INQ's error on normal weights, against numerical integration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from frugalseg.quant import ChannelLayout, code_entropy, level_table
from frugalseg.quant.inq import power_of_two_levels, top_exponent
from frugalseg.quant.measures import relative_rmse

N1 = 2  # floor(log2(4s/3)) for 3 ≤ s < 6
EXPECTED = {3: 0.575, 4: 0.211, 5: 0.194, 7: 0.194}


def integrated_rmse(bits: int) -> float:
    """Root of E (q(x) - x)^2 of a standard normal x, q the nearest level, one integral a level."""
    levels = level_table("inq", bits).astype(np.float64) * 2.0**N1
    positive = levels[levels >= 0]
    borders = [0.0, *((positive[1:] + positive[:-1]) / 2), 9.0]
    parts = [
        quad(lambda x, level=level: (level - x) ** 2 * norm.pdf(x), low, high)[0]
        for level, low, high in zip(positive, borders[:-1], borders[1:], strict=True)
    ]
    return float(np.sqrt(2 * sum(parts)))


@pytest.mark.parametrize("bits", EXPECTED)
def test_relative_rmse_and_entropy_of_normal_weights(bits: int) -> None:
    expected = integrated_rmse(bits)
    assert expected == pytest.approx(EXPECTED[bits], abs=5e-4)
    weights = torch.from_numpy(np.random.default_rng(0).standard_normal(590_000, dtype=np.float32))
    assert 3 <= float(weights.abs().max()) < 6
    n1 = top_exponent(weights, ChannelLayout.of(tuple(weights.shape), "layer"))
    assert n1.item() == N1
    level = power_of_two_levels(weights, n1, bits).numpy()
    assert relative_rmse(weights.numpy(), level * np.float32(2.0**N1)) == pytest.approx(expected, rel=3e-3)
    entropy = code_entropy(np.searchsorted(level_table("inq", bits), level))
    assert entropy == pytest.approx({3: 1.24, 4: 2.73, 5: 3.49, 7: 3.54}[bits], abs=0.01)
