"""Two-bit weights: TWN with a scale computed, TTQ with two scales learned."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from frugalseg.quant.base import Quantizer, Split, group_max, group_mean, living, positive, straight_through
from frugalseg.quant.tensors import ChannelLayout

TWN_THRESHOLD = 0.7
"""Δ over E|w| (TWN, sec. 2: the optimum for uniform weights is 2/3, for normal ones 0.75)."""

TTQ_THRESHOLD = 0.05
"""Δ over max |w| (TTQ, eq. 9, t = 0.05)."""


def ternary_level(weights: Tensor, threshold: Tensor) -> Tensor:
    """+1 above `threshold`, -1 below its negative, +0.0 elsewhere and at equality (TWN, eq. 3)."""
    return (weights > threshold).to(weights.dtype) - (weights < -threshold).to(weights.dtype)


def _mean_where(values: Tensor, mask: Tensor, layout: ChannelLayout) -> Tensor:
    """Mean of `values` over the groups' weights in `mask`; 0 for a group with none."""
    share = group_mean(mask.to(values.dtype), layout)
    return group_mean(values * mask, layout) / share.clamp(min=0.5 / layout.n_shared)


class Twn(Quantizer):
    r"""Ternary weight networks (Li, Zhang & Liu 2016, arXiv 1605.04711, sec. 2).

    Δ = 0.7 E\|w\|; levels -α, 0, +α with α = the mean of \|w\| over \|w\| > Δ, both per layer or per output channel and
    computed anew from the latent weights at every step; the gradient passes to these straight through.
    """

    def quantize(self, latent: Tensor) -> Tensor:
        """-α, 0 or α."""
        with torch.no_grad():
            split = self.split(latent)
            value = split.level * split.scale
        return straight_through(latent, value)

    @torch.no_grad()
    def split(self, latent: Tensor) -> Split:
        """-1, 0, 1 and α."""
        magnitude = latent.abs()
        level = ternary_level(latent, TWN_THRESHOLD * group_mean(magnitude, self.layout))
        return Split(level, _mean_where(magnitude, level != 0, self.layout))


class _TtqFunction(torch.autograd.Function):
    """Forward eq. 6, gradients of the scales eq. 7, of the latent weights eq. 8 of TTQ.

    Sums of which all terms but one are 0, hence exact, and several times faster than ``torch.where``.
    """

    @staticmethod
    def forward(
        ctx: Any, latent: Tensor, above: Tensor, below: Tensor, level: Tensor, shared_axes: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(above, below, level)
        ctx.shared_axes = shared_axes
        return level.clamp(min=0) * above + level.clamp(max=0) * below

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        above, below, level = ctx.saved_tensors
        up, down = level.clamp(min=0), level.clamp(max=0)
        to_above = (grad * up).sum(dim=ctx.shared_axes, keepdim=True)
        to_below = (grad * down).sum(dim=ctx.shared_axes, keepdim=True)  # the level is -W_n
        to_latent = grad * (up * above - down * below + (1 - level.abs()))
        return to_latent, to_above, to_below, None, None


class Ttq(Quantizer):
    r"""Trained ternary quantization (Zhu, Han, Mao & Dally, ICLR 2017, arXiv 1612.01064, eq. 6 to 9).

    Δ = 0.05 max \|w\|; levels -W_n, 0, +W_p with both learned: ∂L/∂W_p is the sum of the weights' gradients g over
    w > Δ, ∂L/∂W_n minus that over w < -Δ (the level being -W_n); the latent gradient is W_p g, g, W_n g in the three
    ranges. Each starts at the mean \|w\| of its set (our choice, the paper is silent), a set without weights at that
    of the other, a group of zeros at the mean of the layer's others. Scales count without their sign, so that levels
    stay in order.
    """

    def __init__(self, latent: Tensor, layout: ChannelLayout, bits: int) -> None:
        super().__init__(latent, layout, bits)
        weights = latent.detach().reshape(layout.view)
        level = self._level(weights)
        above = _mean_where(weights.abs(), level > 0, layout)
        below = _mean_where(weights.abs(), level < 0, layout)
        self.above = nn.Parameter(living(torch.where(above > 0, above, below)).reshape(-1))
        self.below = nn.Parameter(living(torch.where(below > 0, below, above)).reshape(-1))

    def quantize(self, latent: Tensor) -> Tensor:
        """-W_n, 0 or W_p."""
        above, below = self._grouped(positive(self.above)), self._grouped(positive(self.below))
        level = self._level(latent)
        return cast(
            Tensor,
            _TtqFunction.apply(latent, above, below, level, self.layout.shared_axes),  # type: ignore[no-untyped-call]
        )

    @torch.no_grad()
    def split(self, latent: Tensor) -> Split:
        """-1, 0, 1, W_p and W_n."""
        above, below = self._grouped(positive(self.above)), self._grouped(positive(self.below))
        return Split(self._level(latent), above, below)

    @torch.no_grad()
    def _level(self, latent: Tensor) -> Tensor:
        return ternary_level(latent, TTQ_THRESHOLD * group_max(latent.abs(), self.layout))
