"""What holds for any weights: results lie in the codebook, to the bit; nearest levels; idempotence; nested portions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from frugalseg.quant import Method, level_table
from frugalseg.quant.base import Quantizer
from frugalseg.quant.inq import Inq, power_of_two_levels
from frugalseg.quant.lsq import lsq_level

from .builders import VARIANTS, bit_patterns, quantizer_for

WEIGHTS = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7),
    elements=st.floats(-4, 4, width=32) | st.sampled_from([0.0, -0.0, 1e-3, -1e-3, 1.0, 1e-30]),
)
GRANULARITIES = st.sampled_from(["layer", "channel"])
BITS = st.integers(2, 9)


def frozen(quantizer: Quantizer, latent: torch.Tensor) -> torch.Tensor:
    """Effective weights, under INQ once all are frozen."""
    if isinstance(quantizer, Inq):
        quantizer.freeze_largest(latent.detach(), 1.0)
    return quantizer(latent).detach()


def apply(method: Method, weights: np.ndarray, bits: int, granularity: str) -> np.ndarray:
    quantizer, latent = quantizer_for(torch.from_numpy(weights), method, bits, granularity)
    return frozen(quantizer, latent).numpy()


@pytest.mark.parametrize(("method", "bits"), VARIANTS)
@given(weights=WEIGHTS, granularity=GRANULARITIES)
def test_results_are_levels_times_scales_to_the_bit(
    method: Method, bits: int, weights: np.ndarray, granularity: str
) -> None:
    quantizer, latent = quantizer_for(torch.from_numpy(weights), method, bits, granularity)
    effective = frozen(quantizer, latent)
    split = quantizer.split(latent)
    assert np.isin(split.level.numpy(), level_table(method, bits)).all()
    scale = split.scale
    if split.negative_scale is not None:
        scale = torch.where(split.level < 0, split.negative_scale, scale)
    assert torch.equal(bit_patterns(split.level * scale), bit_patterns(effective))


@given(weights=WEIGHTS, granularity=GRANULARITIES, bits=BITS)
def test_inq_is_idempotent(weights: np.ndarray, granularity: str, bits: int) -> None:
    once = apply("inq", weights, bits, granularity)
    assert (apply("inq", once, bits, granularity) == once).all()


@given(weights=WEIGHTS, granularity=GRANULARITIES)
def test_one_bit_and_ternary_are_idempotent(weights: np.ndarray, granularity: str) -> None:
    for method, bits in (("dorefa", 1), ("twn", 2), ("ttq", 2)):
        once = apply(method, weights, bits, granularity)
        # DoReFa turns zeros into a positive weight, which a zero scale makes 0 again
        np.testing.assert_allclose(apply(method, once, bits, granularity), once, rtol=1e-6)


@given(weights=WEIGHTS, bits=st.integers(2, 8))
def test_lsq_is_idempotent_at_its_step(weights: np.ndarray, bits: int) -> None:
    quantizer, latent = quantizer_for(torch.from_numpy(weights), "lsq", bits)
    once = quantizer(latent).detach()
    assert torch.equal(quantizer(once), once)


@given(weights=WEIGHTS, bits=BITS, n1=st.integers(-3, 3))
def test_inq_takes_the_nearest_level_and_ties_go_up(weights: np.ndarray, bits: int, n1: int) -> None:
    codebook = level_table("inq", bits).astype(np.float64) * 2.0**n1
    exact = weights.astype(np.float64)
    distance = np.abs(exact[..., None] - codebook)
    is_nearest = distance == distance.min(axis=-1, keepdims=True)
    largest = np.where(is_nearest, np.abs(codebook), -1).max(axis=-1)
    level = power_of_two_levels(torch.from_numpy(weights), torch.tensor(n1), bits).numpy().astype(np.float64)
    assert (np.abs(level) * 2.0**n1 == largest).all()
    assert (level * exact >= 0).all()


@given(weights=WEIGHTS, bits=st.integers(2, 8))
def test_lsq_takes_the_nearest_level(weights: np.ndarray, bits: int) -> None:
    bounds = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    chosen = lsq_level(torch.from_numpy(weights) * 2, bounds).numpy()
    distance = np.abs(2.0 * weights.astype(np.float64)[..., None] - np.arange(bounds[0], bounds[1] + 1))
    assert (np.abs(2.0 * weights.astype(np.float64) - chosen) == distance.min(axis=-1)).all()


@given(
    weights=WEIGHTS,
    granularity=GRANULARITIES,
    bits=BITS,
    portions=st.lists(st.floats(0.01, 1.0), min_size=1, max_size=4).map(sorted),
)
def test_inq_portions_nest_and_take_the_largest(
    weights: np.ndarray, granularity: str, bits: int, portions: list[float]
) -> None:
    quantizer, latent = quantizer_for(torch.from_numpy(weights), "inq", bits, granularity)
    assert isinstance(quantizer, Inq)
    rows = np.abs(weights) if granularity == "channel" else np.abs(weights).reshape(1, -1)
    before, values = quantizer.is_frozen, quantizer(latent).detach()
    for portion in portions:
        quantizer.freeze_largest(latent.detach(), portion)
        now, effective = quantizer.is_frozen, quantizer(latent).detach()
        assert bool((now >= before).all())
        assert torch.equal(bit_patterns(effective[before]), bit_patterns(values[before]))
        assert torch.equal(effective[~now], latent.detach()[~now])
        for row, mask in zip(rows, now.numpy().reshape(rows.shape), strict=True):
            assert mask.sum() == int(np.floor(portion * row.size + 0.5))
            assert row[mask].min(initial=np.inf) >= row[~mask].max(initial=-np.inf)
        before, values = now, effective


@given(weights=WEIGHTS)
def test_one_channel_alone_is_a_layer(weights: np.ndarray) -> None:
    flat = weights.reshape(1, -1)
    for method, bits in VARIANTS:
        assert (apply(method, flat, bits, "channel") == apply(method, flat, bits, "layer")).all()
