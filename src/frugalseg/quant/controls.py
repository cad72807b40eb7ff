"""Controls of INQ: its schedule without its levels. They tell what freezing, or noise, does without quantization.

No methods of :data:`frugalseg.quant.METHODS`: what comes out is a float network, to be baked
(:func:`frugalseg.quant.layers.bake`).
"""

from __future__ import annotations

import zlib
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from frugalseg.quant.base import Quantizer, Split
from frugalseg.quant.inq import nearest_values, top_exponent
from frugalseg.quant.layers import quantize_module
from frugalseg.quant.portioned import Portioned
from frugalseg.quant.spec import QuantSpec
from frugalseg.quant.tensors import ChannelLayout

Control = Literal["freeze", "noise"]


class Kept(Portioned):
    """A frozen weight keeps the value that it had."""

    def frozen_values(self, weights: Tensor, chosen: Tensor) -> Tensor:
        """The weights themselves."""
        return weights

    def split(self, latent: Tensor) -> Split:
        """Raises ``ValueError``: there are no levels."""
        raise ValueError("a control of INQ has no levels; bake it")


class Noisy(Portioned):
    """A frozen weight is off by noise as large as INQ's error.

    The noise is normal and drawn once for each place of the layer; on every portion it is scaled so that its root mean
    square is that of the error which INQ would have made on the portion, to rounding.

    Attributes
    ----------
    top
        INQ's n1 of each group.
    seed
        Of the noise: a resumed training draws the same again.
    """

    top: Tensor

    def __init__(self, latent: Tensor, layout: ChannelLayout, bits: int, seed: tuple[int, ...]) -> None:
        super().__init__(latent, layout, bits)
        self.seed = seed
        self.register_buffer("top", top_exponent(latent.detach().reshape(layout.view), layout))

    def frozen_values(self, weights: Tensor, chosen: Tensor) -> Tensor:
        """The weights and their noise."""
        error = nearest_values(weights, self.top, self.layout, self.bits) - weights
        drawn = np.random.default_rng(self.seed).standard_normal(self.layout.shape, dtype=np.float32)
        noise = torch.from_numpy(drawn).to(weights.device)
        size = _root_mean_square(noise[chosen])
        return weights + noise * (_root_mean_square(error[chosen]) / size if size else 0.0)

    def split(self, latent: Tensor) -> Split:
        """Raises ``ValueError``: there are no levels."""
        raise ValueError("a control of INQ has no levels; bake it")


def control_module(net: nn.Module, spec: QuantSpec, control: Control, seed: int) -> list[str]:
    """Put a control on the layers that INQ of `spec` would be put on; then as with INQ.

    Parameters
    ----------
    net
        Changed in place.
    spec
        INQ's; its bits say how large the noise is.
    control, seed
        What freezing does to a weight; the seed of all noise.

    Returns
    -------
    Names of the layers.
    """

    def make(name: str, weight: Tensor, layout: ChannelLayout) -> Quantizer:
        if control == "freeze":
            return Kept(weight, layout, spec.bits)
        return Noisy(weight, layout, spec.bits, (seed, zlib.crc32(name.encode())))

    return quantize_module(net, spec, make)


def _root_mean_square(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt()) if values.numel() else 0.0
