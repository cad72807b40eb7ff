"""Incremental network quantization: powers of two, frozen in portions (Zhou et al., ICLR 2017, arXiv 1702.03044)."""

from __future__ import annotations

import torch
from torch import Tensor

from frugalseg.quant.base import Split, group_max
from frugalseg.quant.portioned import Portioned
from frugalseg.quant.spec import level_table
from frugalseg.quant.tensors import ChannelLayout

_MIN_EXPONENT = -126
"""Of the smallest normal float32."""


def nearest_exponent(magnitude: Tensor) -> Tensor:
    """The n with 3/4 · 2^n ≤ `magnitude` < 3/2 · 2^n, without any rounding; for 0 an n below all others.

    Between neighbours α = β/2 and β this is the rule (α + β)/2 ≤ \\|w\\| < 3β/2 (eq. 4); of the largest weight s it is
    floor(log2(4s/3)) (eq. 2), where a logarithm in floating point may miss by one.
    """
    mantissa, exponent = torch.frexp(magnitude)  # magnitude = mantissa · 2^exponent, mantissa in [1/2, 1)
    nearest = exponent - (mantissa < 0.75).to(exponent.dtype)
    return torch.where(magnitude == 0, -(2**20), nearest)


def top_exponent(weights: Tensor, layout: ChannelLayout) -> Tensor:
    """n1 of each group of `weights` (shaped as the layout's view), int32, shape (groups,) (eq. 2 and 3).

    A group that is all zero takes that of the whole layer, so that its weights have levels to grow into.
    """
    of_groups = nearest_exponent(group_max(weights.abs(), layout)).reshape(-1)
    n1 = torch.where(of_groups < _MIN_EXPONENT, of_groups.max(), of_groups)
    return n1.clamp(min=_MIN_EXPONENT).to(torch.int32)


def power_of_two_levels(weights: Tensor, n1: Tensor, bits: int) -> Tensor:
    """Levels in units of 2^n1 nearest to `weights`: 0 or ±2^-j, j from 0 to 2^(b-2) - 1 (eq. 1 and 4).

    Parameters
    ----------
    weights, n1
        Float weights, and the largest exponent, which broadcasts against them.
    bits
        2 to 9; the smallest exponent is n2 = n1 + 1 - 2^(b-2).

    Notes
    -----
    What lies below 2^(n2-1) becomes 0. What lies above 3/2 · 2^n1, where retraining may push a weight, becomes ±2^n1;
    the "0 otherwise" of eq. 4 as printed would zero it.
    """
    lowest = n1 + 1 - 2 ** (bits - 2)
    magnitude = weights.abs()
    _, exponent = torch.frexp(magnitude)  # magnitude ≥ 2^(exponent - 1)
    becomes_zero = (magnitude == 0) | (exponent < lowest)
    nearest = torch.minimum(torch.maximum(nearest_exponent(magnitude), lowest), n1)
    powers = torch.from_numpy(level_table("inq", bits)).to(weights.device, weights.dtype).flip(0)
    level = powers[(n1 - nearest).long()] * torch.where(weights < 0, -1.0, 1.0).to(weights.dtype)
    return torch.where(becomes_zero, 0.0, level)


def power_of_two(exponent: Tensor) -> Tensor:
    """2^exponent as float32, put together from its bits: exact on any device; exponents from -126 to 127."""
    return ((exponent.to(torch.int32) + 127) << 23).view(torch.float32)


def nearest_values(weights: Tensor, top: Tensor, layout: ChannelLayout, bits: int) -> Tensor:
    """What INQ makes of all `weights`: the nearest of 0 and ±2^n, n up to `top` of the group; in the same shape."""
    scale_shape = layout.group_shape
    level = power_of_two_levels(weights.reshape(layout.view), top.reshape(scale_shape), bits)
    return (level * power_of_two(top).reshape(scale_shape)).float().reshape(layout.shape)


class Inq(Portioned):
    """INQ of one layer: frozen weights are levels, the others are still the latent ones and learn.

    s = max \\|W\\| (eq. 3) and n1 = floor(log2(4s/3)) (eq. 2) are fixed from the weights at the start, n2 = n1 + 1 -
    2^(b-2); levels are 0 and ±2^n for n2 ≤ n ≤ n1 (eq. 1), the nearest is taken (eq. 4).

    Attributes
    ----------
    top
        n1 of each group.
    """

    top: Tensor

    def __init__(self, latent: Tensor, layout: ChannelLayout, bits: int) -> None:
        super().__init__(latent, layout, bits)
        self.register_buffer("top", top_exponent(latent.detach().reshape(layout.view), layout))

    def split(self, latent: Tensor) -> Split:
        """Levels of the frozen weights; raises ``ValueError`` while some are not frozen."""
        if not bool(self.is_frozen.all()):
            share = float(self.is_frozen.float().mean())
            raise ValueError(f"only {share:.1%} of the weights are frozen; advance_portion(net, 1.0) freezes all")
        scale = self._grouped(power_of_two(self.top)).to(latent.dtype)
        values = self.frozen.reshape(self.layout.view).view(torch.float32).to(latent.dtype)
        return Split(values / scale, scale)

    def frozen_values(self, weights: Tensor, chosen: Tensor) -> Tensor:
        """The nearest level."""
        return nearest_values(weights, self.top, self.layout, self.bits)
