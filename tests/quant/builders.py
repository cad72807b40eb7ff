"""Small layers under a quantizer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from frugalseg.quant import ChannelLayout, Granularity, Method, QuantSpec
from frugalseg.quant.base import Quantizer
from frugalseg.quant.layers import QUANTIZERS, quantize_module

VARIANTS: list[tuple[Method, int]] = [
    ("inq", 2),
    ("inq", 3),
    ("inq", 5),
    ("inq", 9),
    ("dorefa", 1),
    ("dorefa", 2),
    ("dorefa", 4),
    ("dorefa", 8),
    ("twn", 2),
    ("ttq", 2),
    ("lsq", 2),
    ("lsq", 4),
    ("lsq", 8),
]


def quantizer_for(
    weights: Sequence[float] | Tensor, method: Method, bits: int, granularity: Granularity = "layer"
) -> tuple[Quantizer, Tensor]:
    """A quantizer of `weights`, one-dimensional or (channels, weights), and these as a leaf that takes gradients."""
    latent = torch.as_tensor(weights, dtype=torch.float32).clone().requires_grad_()
    layout = ChannelLayout.of(tuple(latent.shape), granularity)
    return QUANTIZERS[method](latent, layout, bits), latent


def small_net(seed: int = 0) -> nn.Sequential:
    """Every kind of layer that quantizers meet: grouped, depthwise, transposed, grouped transposed, with norms."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.Conv2d(8, 12, 1, groups=2),
            nn.ConvTranspose2d(12, 6, 2, stride=2),
            nn.BatchNorm2d(6),
            nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2),
            nn.Conv2d(4, 2, 1),
        )


def quantized_net(method: Method, bits: int, granularity: Granularity = "layer", seed: int = 0) -> nn.Sequential:
    """:func:`small_net` under a quantizer."""
    net = small_net(seed)
    quantize_module(net, QuantSpec(method, bits, granularity))
    return net


def bit_patterns(tensor: Tensor) -> Tensor:
    """The bits of float32 values, which tell -0.0 from 0.0."""
    return tensor.detach().contiguous().view(torch.int32)
