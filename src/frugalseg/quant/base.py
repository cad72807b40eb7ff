"""What every quantizer is: a parametrization of a convolution's weight."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from frugalseg.quant.tensors import ChannelLayout


@dataclass(frozen=True)
class Split:
    """Weights taken apart, shaped as the layout's view: ``level * scale``, for negative levels `negative_scale`."""

    level: Tensor
    scale: Tensor
    negative_scale: Tensor | None = None


class Quantizer(nn.Module, ABC):
    """A parametrization (``torch.nn.utils.parametrize``): from the latent weight to the effective one.

    The latent weight is what the optimiser moves; the effective weight is what the network computes with. Scales that
    training learns are one-dimensional parameters, so that optimisers which spare vectors from weight decay spare them.

    Parameters
    ----------
    latent
        The float weight; learned scales start from it.
    layout
        Which weights share a scale.
    bits
        Bits a weight.
    """

    def __init__(self, latent: Tensor, layout: ChannelLayout, bits: int) -> None:
        super().__init__()
        self.layout = layout
        self.bits = bits

    @abstractmethod
    def quantize(self, latent: Tensor) -> Tensor:
        """Effective weights, with the method's gradient; `latent` and the result are shaped as the layout's view."""

    @abstractmethod
    def split(self, latent: Tensor) -> Split:
        """Levels and scales whose product is, to the bit, what :meth:`quantize` gives."""

    def forward(self, latent: Tensor) -> Tensor:
        """Effective weights, in the weight's own shape."""
        return self.quantize(latent.reshape(self.layout.view)).reshape(self.layout.shape)

    def _grouped(self, scale: Tensor) -> Tensor:
        """One value a group, shaped to broadcast against the layout's view."""
        return scale.reshape(self.layout.group_shape)


class _StraightThrough(torch.autograd.Function):
    """Gives `value`; the gradient passes to `latent` unchanged (Bengio et al. 2013, arXiv 1308.3432).

    The usual ``latent + (value - latent).detach()`` rounds: its result is off the levels by some units in the last
    place.
    """

    @staticmethod
    def forward(ctx: Any, latent: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def straight_through(latent: Tensor, value: Tensor) -> Tensor:
    """`value` exactly, with the gradient of the identity in `latent`."""
    return cast(Tensor, _StraightThrough.apply(latent, value))  # type: ignore[no-untyped-call]


def group_mean(values: Tensor, layout: ChannelLayout) -> Tensor:
    """Mean over the weights that share a scale, shaped to broadcast.

    Summed in double precision where the device has it, so that threads and memory layout do not show in the result.
    """
    wide = values.dtype if values.device.type == "mps" else torch.float64
    return values.mean(dim=layout.shared_axes, keepdim=True, dtype=wide).to(values.dtype)


def living(scale: Tensor) -> Tensor:
    """Scales to begin with: those of groups whose weights are all zero are the mean of the others, to grow into."""
    dead = scale <= 0
    return scale if dead.all() or not dead.any() else torch.where(dead, scale[~dead].mean(), scale)


def group_max(values: Tensor, layout: ChannelLayout) -> Tensor:
    """Largest of the weights that share a scale, shaped to broadcast."""
    return values.amax(dim=layout.shared_axes, keepdim=True)


def positive(scale: Tensor) -> Tensor:
    """A learned scale without its sign, and never 0: an optimiser's step may carry a small scale across 0."""
    return scale.abs().clamp(min=torch.finfo(scale.dtype).tiny)
