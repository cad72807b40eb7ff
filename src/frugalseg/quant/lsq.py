"""Learned step size quantization (Esser et al., ICLR 2020, arXiv 1902.08153)."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from frugalseg.quant.base import Quantizer, Split, group_mean, living, positive
from frugalseg.quant.tensors import ChannelLayout


class _LsqFunction(torch.autograd.Function):
    """Forward eq. 1 and 2, gradient of the step eq. 3, of the weights eq. 5 of LSQ."""

    @staticmethod
    def forward(
        ctx: Any, latent: Tensor, step: Tensor, bounds: tuple[int, int], factor: float, shared_axes: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(latent, step)
        ctx.bounds, ctx.factor, ctx.shared_axes = bounds, factor, shared_axes
        return lsq_level(latent / step, bounds) * step

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        latent, step = ctx.saved_tensors
        low, high = ctx.bounds
        ratio = latent / step
        inside = (ratio > low) & (ratio < high)
        slope = torch.where(inside, ratio.round() - ratio, ratio.clamp(low, high))
        to_step = (grad * slope).sum(dim=ctx.shared_axes, keepdim=True) * ctx.factor
        return grad * inside, to_step, None, None, None


def lsq_level(ratio: Tensor, bounds: tuple[int, int]) -> Tensor:
    """round(clip(w / s, -Q_N, Q_P)), half to even; zero is +0.0 (LSQ, eq. 1)."""
    return ratio.clamp(*bounds).round() + 0.0


class Lsq(Quantizer):
    r"""LSQ weights, 2 to 8 bits.

    ŵ = s · round(clip(w/s, -Q_N, Q_P)), Q_N = 2^(b-1), Q_P = Q_N - 1 (eq. 1 and 2). ∂ŵ/∂s is round(w/s) - w/s inside,
    -Q_N or Q_P outside (eq. 3), times 1/sqrt(n Q_P) with n weights sharing s (sec. 2.2); ∂ŵ/∂w is 1 inside, 0 outside
    (eq. 5). s starts at 2 E\|w\| / sqrt(Q_P) (sec. 2.1), where all w are zero at the mean of the
    layer's others (ours). It counts without its sign, and is never 0.
    """

    def __init__(self, latent: Tensor, layout: ChannelLayout, bits: int) -> None:
        super().__init__(latent, layout, bits)
        mean = group_mean(latent.detach().reshape(layout.view).abs(), layout)
        self.step = nn.Parameter(living(2 * mean / math.sqrt(self.bounds[1])).reshape(-1))

    @property
    def bounds(self) -> tuple[int, int]:
        """-Q_N and Q_P."""
        return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1

    @property
    def grouped_step(self) -> Tensor:
        """s, shaped to broadcast against the layout's view."""
        return self._grouped(positive(self.step))

    @property
    def step_factor(self) -> float:
        """What the gradient of s is multiplied by."""
        return 1 / math.sqrt(self.layout.n_shared * self.bounds[1])

    def quantize(self, latent: Tensor) -> Tensor:
        """Multiples of the step."""
        return cast(
            Tensor,
            _LsqFunction.apply(  # type: ignore[no-untyped-call]
                latent, self.grouped_step, self.bounds, self.step_factor, self.layout.shared_axes
            ),
        )

    @torch.no_grad()
    def split(self, latent: Tensor) -> Split:
        """Integers and the step."""
        step = self.grouped_step
        return Split(lsq_level(latent / step, self.bounds), step)
