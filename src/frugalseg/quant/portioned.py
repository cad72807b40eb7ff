"""Weights that are frozen in portions, the largest first, whatever they become when frozen."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from frugalseg.quant.base import Quantizer
from frugalseg.quant.tensors import ChannelLayout

_NOT_FROZEN = -(2**31)
"""Bit pattern of -0.0, which no frozen weight has: their zero is +0.0."""


class Portioned(Quantizer):
    """The frozen weights of a layer stand, the others are still the latent ones and learn.

    Attributes
    ----------
    frozen
        Effective values of the frozen weights, as the bits of their float32, and a mark elsewhere. A frozen weight
        comes from here, so whatever an optimiser, its momentum or weight decay do to the latent one, it stays what it
        was to the bit. Integers, since averages of networks blend floats and copy integers.
    """

    frozen: Tensor

    def __init__(self, latent: Tensor, layout: ChannelLayout, bits: int) -> None:
        super().__init__(latent, layout, bits)
        self.register_buffer("frozen", torch.full_like(latent.detach(), _NOT_FROZEN, dtype=torch.int32))

    @abstractmethod
    def frozen_values(self, weights: Tensor, chosen: Tensor) -> Tensor:
        """What `weights` become where `chosen` is true; other places are ignored. All in the weight's own shape."""

    @property
    def is_frozen(self) -> Tensor:
        """True for each weight that no longer learns."""
        return self.frozen != _NOT_FROZEN

    def quantize(self, latent: Tensor) -> Tensor:
        """Frozen values where there are, else `latent`, whose gradient passes (eq. 8 of INQ's paper masks it so)."""
        frozen = self.frozen.reshape(self.layout.view)
        return torch.where(frozen == _NOT_FROZEN, latent, frozen.view(torch.float32).to(latent.dtype))

    @torch.no_grad()
    def freeze_largest(self, weights: Tensor, portion: float) -> None:
        """Freeze the largest of `weights` not yet frozen, until `portion` of each group is.

        Ties go to the weight that comes first. Nothing happens where that much is frozen already.
        """
        chosen = ~self.is_frozen if portion == 1 else self._largest(weights.abs(), portion)
        values = self.frozen_values(weights, chosen).float() + 0.0  # -0.0 becomes 0.0
        self.frozen.copy_(torch.where(chosen, values.view(torch.int32), self.frozen))

    def _largest(self, magnitude: Tensor, portion: float) -> Tensor:
        """Which weights to freeze for `portion` of each group to be frozen."""
        is_frozen = self._rows(self.is_frozen)
        wanted = math.floor(portion * self.layout.n_shared + 0.5) - is_frozen.sum(dim=1, keepdim=True)
        order = self._rows(magnitude).masked_fill(is_frozen, -1.0).argsort(dim=1, descending=True, stable=True)
        is_wanted = torch.arange(self.layout.n_shared, device=order.device) < wanted
        return self._from_rows(torch.zeros_like(is_frozen).scatter_(1, order, is_wanted))

    def _rows(self, values: Tensor) -> Tensor:
        """The weights of each group in a row."""
        axes = (*self.layout.axes, *self.layout.shared_axes)
        return values.reshape(self.layout.view).permute(axes).reshape(self.layout.n_groups, -1)

    def _from_rows(self, rows: Tensor) -> Tensor:
        """Undo :meth:`_rows`."""
        axes = (*self.layout.axes, *self.layout.shared_axes)
        back = tuple(axes.index(axis) for axis in range(len(axes)))
        return rows.reshape([self.layout.view[axis] for axis in axes]).permute(back).reshape(self.layout.shape)
