"""U-Net with batch normalisation (Ronneberger et al., MICCAI 2015, arXiv 1505.04597), half the channels."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from frugalseg.nets.base import SegmentationNet, conv_bn_relu

CHANNELS = (32, 64, 128, 256, 512)


class UNet(SegmentationNet):
    """Five levels of 32 to 512 channels, two 3x3 convolutions each; 7.8 million weights."""

    stride: ClassVar[int] = 16
    halo_px: ClassVar[int] = 112
    default_object_diameter_px: ClassVar[float] = 62.0
    descriptor_channels: ClassVar[int] = CHANNELS[-1]

    def __init__(self, n_classes: int = 1) -> None:
        super().__init__(n_classes)
        inputs = (3, *CHANNELS[:-1])
        self.down = nn.ModuleList(
            nn.Sequential(conv_bn_relu(n_in, n_out), conv_bn_relu(n_out, n_out))
            for n_in, n_out in zip(inputs, CHANNELS, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        ups, merges = [], []
        for coarse, fine in zip(CHANNELS[:0:-1], CHANNELS[-2::-1], strict=True):
            ups.append(nn.ConvTranspose2d(coarse, fine, 2, stride=2))
            merges.append(nn.Sequential(conv_bn_relu(2 * fine, fine), conv_bn_relu(fine, fine)))
        self.up = nn.ModuleList(ups)
        self.merge = nn.ModuleList(merges)
        self.head = nn.Conv2d(CHANNELS[0], self.n_outputs, 1)

    def encode(self, x: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else self.pool(x))
            features.append(x)
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        x = features[-1]
        for up, merge, skip in zip(self.up, self.merge, features[-2::-1], strict=True):
            x = merge(torch.cat([up(x), skip], dim=1))
        return cast(Tensor, self.head(x))
