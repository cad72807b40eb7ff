"""DoReFa-Net's weights (Zhou et al. 2016, arXiv 1606.06160, sec. 2.3)."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from frugalseg.quant.base import Quantizer, Split, group_max, group_mean, straight_through


class _Round(torch.autograd.Function):
    """Round half to even; straight-through gradient (eq. 5 of the paper)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class Dorefa(Quantizer):
    r"""DoReFa weights, 1 to 8 bits, with a scale in every layer.

    For k > 1 bits w_q = 2 q_k(tanh w / (2 max \|tanh w\|) + 1/2) - 1, q_k(x) = round((2^k - 1) x) / (2^k - 1) with a
    straight-through gradient; the gradient of tanh and of the maximum is taken as it is, as in the authors' code. For
    k = 1 sign(w) · E\|w\| with sign(0) = +1 and a straight-through gradient over all (sec. 2.3).

    Notes
    -----
    The paper's w_q for k > 1 spans [-1, 1] whatever the weights were: the layer loses its scale, which only a batch
    normalisation right behind it makes good. Bottlenecks' last convolutions, shortcuts, transposed convolutions and the
    last layer have none. So *every* layer (or output channel) gets a scale here (our choice, the paper is silent):
    S = E\|w\| / E\|w_q\|, a constant for the gradient. Why this one: weights keep their mean size, so a trained network
    still works after quantization and its batch statistics stay near; with k = 1, where \|w_q\| = 1, it is the paper's
    own E\|w\|, so one rule holds for all k; max \|w\| would follow one outlier and make 2-bit weights about twice too
    large, E\|w\| alone would make 4-bit ones several times too small. Where batch normalisation follows, the scale
    changes nothing but its statistics. Levels are odd integers, so no weight is 0.
    """

    def quantize(self, latent: Tensor) -> Tensor:
        """Levels times scale, with the gradient described above."""
        if self.bits == 1:
            with torch.no_grad():
                split = self.split(latent)
                value = split.level * split.scale
            return straight_through(latent, value)
        level = self._level(latent)
        return level * self._scale(latent, level)

    def split(self, latent: Tensor) -> Split:
        """Odd integers and the scale S / (2^k - 1)."""
        with torch.no_grad():
            level = self._level(latent)
            return Split(level, self._scale(latent, level))

    def _level(self, latent: Tensor) -> Tensor:
        """(2^k - 1) w_q: odd integers."""
        if self.bits == 1:
            return torch.where(latent >= 0, 1.0, -1.0).to(latent.dtype)
        top: int = 2**self.bits - 1
        squashed = torch.tanh(latent)
        largest = group_max(squashed.abs(), self.layout).clamp(min=torch.finfo(latent.dtype).tiny)
        unit = squashed / (2 * largest) + 0.5
        rounded = cast(Tensor, _Round.apply(top * unit))  # type: ignore[no-untyped-call]
        return 2.0 * rounded - top

    @torch.no_grad()
    def _scale(self, latent: Tensor, level: Tensor) -> Tensor:
        """E|w| / E|level|, the same as S / (2^k - 1)."""
        return group_mean(latent.abs(), self.layout) / group_mean(level.abs(), self.layout)
