"""How many bits the codes of a network hold, as a part of the loss: few bits for little loss of accuracy."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from frugalseg.quant.layers import latent_weight, quantizers
from frugalseg.quant.lsq import Lsq

_LEAST_STEP = 0.01
"""Channels of smaller steps, in mean steps of the layer, count as if they had this one: pretrained networks have
channels whose weights are next to 0, where the gradient would have no bound."""


class _CodeRate(torch.autograd.Function):
    """Bits of the codes of one tensor, see :func:`code_rate`; the step's gradient is scaled as LSQ's own."""

    @staticmethod
    def forward(
        ctx: Any, latent: Tensor, step: Tensor, bounds: tuple[int, int], factor: float, shared_axes: tuple[int, ...]
    ) -> Tensor:
        low, high = bounds
        ratio = latent / step
        place = ratio.clamp(low, high) - low
        code = place.floor().clamp(max=high - low - 1)
        share = (place - code).flatten().double()
        lower = code.flatten().long()
        n_levels = high - low + 1
        counts = torch.bincount(lower, 1 - share, n_levels) + torch.bincount(lower + 1, share, n_levels)
        information = counts.sum().log2() - counts.clamp(min=1).log2()
        slope = information.diff().to(latent.dtype)[code.long()]
        unit = torch.maximum(step, _LEAST_STEP * step.mean())
        ctx.save_for_backward(torch.where((ratio > low) & (ratio < high), slope / unit, 0.0), ratio)
        ctx.factor, ctx.shared_axes = factor, shared_axes
        return (counts * information).sum().to(latent.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        to_latent, ratio = ctx.saved_tensors
        to_step = (-to_latent * ratio).sum(dim=ctx.shared_axes, keepdim=True) * ctx.factor
        return grad * to_latent, grad * to_step, None, None, None


def code_rate(latent: Tensor, quantizer: Lsq) -> Tensor:
    r"""Bits that an ideal coder spends on a layer's codes, a smooth stand-in for n times their entropy.

    A weight between two levels counts as either, the nearer one more: with x = clip(w/s, -Q_N, Q_P) level k has the
    count c_k = Σ max(0, 1 - \|x - k\|), and the bits are -Σ c_k log2(c_k / n); where all weights lie on levels that is
    their entropy. Towards x the gradient is the difference of the information log2(n / c) of both levels (what the
    counts themselves change cancels), towards s it has LSQ's factor. A level that no weight has counts as one weight's,
    and a step of less than a hundredth of the layer's mean as that.

    Entropy-constrained quantization is old (Chou, Lookabaugh and Gray, 1989); networks were trained so by, among
    others, Wiedemann et al. (arXiv 1812.07520).
    """
    return cast(
        Tensor,
        _CodeRate.apply(  # type: ignore[no-untyped-call]
            latent.reshape(quantizer.layout.view),
            quantizer.grouped_step,
            quantizer.bounds,
            quantizer.step_factor,
            quantizer.layout.shared_axes,
        ),
    )


def mean_code_bits(net: nn.Module) -> Tensor:
    """Bits a weight, see :func:`code_rate`, over all layers of `net` under LSQ.

    Raises
    ------
    ValueError
        No layer is.
    """
    rates, n_weights = [], 0
    for layer, quantizer in quantizers(net).values():
        if isinstance(quantizer, Lsq):
            latent = latent_weight(layer)
            rates.append(code_rate(latent, quantizer))
            n_weights += latent.numel()
    if not rates:
        raise ValueError("no layer is quantized by LSQ")
    return torch.stack(rates).sum() / n_weights
