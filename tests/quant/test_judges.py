"""Brevitas, an independent library, judges what it defines as we do: thresholded signs, signs, rounding to k bits.

It comes with ``pip install --group judges``; without it these tests are skipped.
"""

from __future__ import annotations

import pytest
import torch

from frugalseg.quant import Granularity

from .builders import quantizer_for

core = pytest.importorskip("brevitas.core.quant", reason="brevitas is not installed (pip install --group judges)")
scaling = pytest.importorskip("brevitas.core.scaling", reason="brevitas is not installed (pip install --group judges)")

GRANULARITIES: list[Granularity] = ["layer", "channel"]


def weights() -> torch.Tensor:
    return torch.randn(6, 40, generator=torch.Generator().manual_seed(0)) * 0.1


class Given(torch.nn.Module):
    """A scale that is what it is told to be."""

    def __init__(self, scale: torch.Tensor) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_twn_is_brevitas_ternary_at_our_threshold(granularity: Granularity) -> None:
    w = weights()
    quantizer, latent = quantizer_for(w, "twn", 2, granularity)
    axes = (1,) if granularity == "channel" else (0, 1)
    threshold = 0.7 * w.abs().mean(axes, keepdim=True)
    above = w.abs() > threshold
    alpha = (w.abs() * above).sum(axes, keepdim=True) / above.sum(axes, keepdim=True)
    judge = core.TernaryQuant(Given(alpha), threshold / alpha)
    theirs_latent = w.clone().requires_grad_()
    theirs = judge(theirs_latent)[0]
    torch.testing.assert_close(quantizer(latent), theirs)
    slope = torch.randn(6, 40)
    (quantizer(latent) * slope).sum().backward()
    torch.testing.assert_close(latent.grad, slope)  # theirs scales and cuts the gradient: another definition


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_dorefa_of_one_bit_is_brevitas_binary_with_the_mean_as_scale(granularity: Granularity) -> None:
    w = weights()
    w[0, 0] = 0.0
    quantizer, latent = quantizer_for(w, "dorefa", 1, granularity)
    axes = (1,) if granularity == "channel" else (0, 1)
    judge = core.BinaryQuant(Given(w.abs().mean(axes, keepdim=True)))
    torch.testing.assert_close(quantizer(latent), judge(w)[0])


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_dorefa_levels_are_brevitas_unsigned_integers_of_the_squashed_weights(bits: int) -> None:
    w = weights()
    quantizer, latent = quantizer_for(w, "dorefa", bits)
    unit = w.tanh() / (2 * w.tanh().abs().max()) + 0.5
    judge = core.IntQuant(narrow_range=False, signed=False, input_view_impl=torch.nn.Identity())
    top = 2**bits - 1
    quantized = judge(torch.tensor(1.0), torch.tensor(0.0), torch.tensor(float(bits)), top * unit) / top
    w_q = 2 * quantized - 1
    torch.testing.assert_close(quantizer.split(latent).level / top, w_q)
    torch.testing.assert_close(quantizer(latent), w_q * (w.abs().mean() / w_q.abs().mean()))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_lsq_is_brevitas_signed_integers_at_the_same_step(bits: int) -> None:
    w = weights()
    quantizer, latent = quantizer_for(w, "lsq", bits)
    step = quantizer.split(latent).scale
    judge = core.IntQuant(narrow_range=False, signed=True, input_view_impl=torch.nn.Identity())
    torch.testing.assert_close(quantizer(latent), judge(step, torch.tensor(0.0), torch.tensor(float(bits)), w))
