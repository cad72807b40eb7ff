"""The paper's fully convolutional network (Yang et al., MICCAI 2017, arXiv 1706.04737; Xu et al., CVPR 2018)."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from frugalseg.nets.base import SegmentationNet, conv_bn_relu

WIDTHS = (64, 128, 256, 256, 256)
"""N_c of parts two to six; a part gives 4 N_c channels."""

STEM_CHANNELS = 32
HEAD_CHANNELS = 32


def _bn_relu_conv(n_in: int, n_out: int, kernel: int) -> nn.Sequential:
    """Pre-activation order: batch normalisation, ReLU, convolution (He et al., ECCV 2016)."""
    return nn.Sequential(
        nn.BatchNorm2d(n_in),
        nn.ReLU(inplace=False),
        nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2, bias=False),
    )


class Bottleneck(nn.Module):
    """Pre-activation residual bottleneck 1x1, 3x3, 1x1; a transition's shortcut is BN-ReLU-conv1x1."""

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__()
        n_out = 4 * width
        self.residual = nn.Sequential(
            _bn_relu_conv(n_in, width, 1), _bn_relu_conv(width, width, 3), _bn_relu_conv(width, n_out, 1)
        )
        self.shortcut: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.residual(x) + self.shortcut(x))


def _transition(n_in: int, width: int) -> Bottleneck:
    block = Bottleneck(n_in, width)
    block.shortcut = _bn_relu_conv(n_in, 4 * width, 1)
    return block


def _upsampler(n_in: int, doublings: int) -> nn.Sequential:
    """`doublings` stacked 2x2 transposed convolutions, each halves the channels (our choice; the papers are silent)."""
    layers = [nn.ConvTranspose2d(n_in >> i, n_in >> (i + 1), 2, stride=2) for i in range(doublings)]
    return nn.Sequential(*layers)


class FCN(SegmentationNet):
    """The paper's network: six encoder parts, each behind a 2x2 max-pool; six upsampled maps concatenated.

    19.2 million weights, 10.0 in the encoder. The border logit beside the classes is ours. Run it on full-size images:
    its first pool already halves them.
    """

    stride: ClassVar[int] = 64
    halo_px: ClassVar[int] = 320
    default_object_diameter_px: ClassVar[float] = 124.0
    descriptor_channels: ClassVar[int] = 4 * WIDTHS[-1]

    def __init__(self, n_classes: int = 1) -> None:
        super().__init__(n_classes)
        self.pool = nn.MaxPool2d(2)
        parts: list[nn.Module] = [
            nn.Sequential(conv_bn_relu(3, STEM_CHANNELS), conv_bn_relu(STEM_CHANNELS, STEM_CHANNELS))
        ]
        n_in = STEM_CHANNELS
        for width in WIDTHS:
            parts.append(nn.Sequential(_transition(n_in, width), Bottleneck(4 * width, width)))
            n_in = 4 * width
        self.parts = nn.ModuleList(parts)
        outputs = (STEM_CHANNELS, *(4 * width for width in WIDTHS))
        self.up = nn.ModuleList(_upsampler(n, level) for level, n in enumerate(outputs, start=1))
        merged = sum(n >> level for level, n in enumerate(outputs, start=1))
        self.head = nn.Sequential(
            conv_bn_relu(merged, HEAD_CHANNELS),
            nn.Conv2d(HEAD_CHANNELS, self.n_outputs, 1),
        )

    def encode(self, x: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        for part in self.parts:
            x = part(self.pool(x))
            features.append(x)
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        maps = [up(feature) for up, feature in zip(self.up, features, strict=True)]
        return cast(Tensor, self.head(torch.cat(maps, dim=1)))
