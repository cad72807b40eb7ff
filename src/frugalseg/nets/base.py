"""What every segmentation network here is: an encoder, a decoder, and logits for classes and border."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SegmentationNet(nn.Module):
    """A fully convolutional network with one softmax over background and classes and one border logit.

    The border channel says how likely a pixel lies on the inner rim of an object (the contour branch of DCAN, Chen
    et al., CVPR 2016, arXiv 1604.02677); :func:`frugalseg.instances.separate` cuts touching objects there.

    Parameters
    ----------
    n_classes
        Object classes, background not counted.

    Attributes
    ----------
    stride
        Input sizes are padded to multiples of this, and cropped back.
    halo_px
        Radius of the receptive field, rounded up to the stride: an output pixel sees no input pixel further away.
    default_object_diameter_px
        Diameter that the median object should have in the network's input; decides the image scale.
    descriptor_channels
        Length of the image descriptor.
    """

    stride: ClassVar[int]
    halo_px: ClassVar[int]
    default_object_diameter_px: ClassVar[float]
    descriptor_channels: ClassVar[int]

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        if n_classes < 1:
            raise ValueError(f"n_classes must be at least 1, not {n_classes}")
        self.n_classes = n_classes

    @property
    def n_outputs(self) -> int:
        """Channels of the logits: background, classes, border."""
        return self.n_classes + 2

    @abstractmethod
    def encode(self, x: Tensor) -> list[Tensor]:
        """Feature maps, finest first; sizes of `x` (N, 3, H, W) are multiples of the stride."""

    @abstractmethod
    def decode(self, features: list[Tensor]) -> Tensor:
        """Logits (N, C + 2, H, W) from what :meth:`encode` gave."""

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Parameters that carry pretrained weights and learn at a lower rate; none by default."""
        return []

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, C + 2, H, W) of normalised images (N, 3, H, W) of any size."""
        return self.logits_and_descriptor(x)[0]

    def logits_and_descriptor(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the channel-wise spatial mean of the last encoder output, shape (N, D).

        The latter is the descriptor of an image by Yang et al., MICCAI 2017, sec. 2.2.
        """
        height, width = x.shape[-2:]
        features = self.encode(pad_to_multiple(x, self.stride))
        return self.decode(features)[..., :height, :width], features[-1].mean(dim=(2, 3))

    def descriptor(self, x: Tensor) -> Tensor:
        """The descriptor alone, without the decoder's work."""
        return self.encode(pad_to_multiple(x, self.stride))[-1].mean(dim=(2, 3))


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad (N, C, H, W) to the right and below by repeating the last pixel, until both sizes divide by `multiple`."""
    height, width = x.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def probabilities(logits: Tensor) -> Tensor:
    """Probability maps (N, C + 2, H, W) of logits: softmax over background and classes, sigmoid of the border."""
    return torch.cat([logits[:, :-1].softmax(dim=1), logits[:, -1:].sigmoid()], dim=1)


def conv_bn_relu(n_in: int, n_out: int, kernel: int = 3) -> nn.Sequential:
    """Convolution without bias, batch normalisation, ReLU; keeps the size."""
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(n_out),
        nn.ReLU(inplace=True),
    )
