"""Networks and packed models for the tests of graphs, engines and exports."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from frugalseg.artifact import Artifact
from frugalseg.export.packing import pack_net
from frugalseg.instances import InstanceSettings
from frugalseg.model_files import DIVISOR, MEAN, ModelCard
from frugalseg.nets import SegmentationNet, build_net
from frugalseg.nets.onnx_graph import weightless_graph
from frugalseg.quant import QuantSpec
from frugalseg.quant.layers import bake, quantize_module


def image(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth blobs in colour with some noise, (H, W, 3): activations like those of tissue rather than of noise."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, height // 16 + 1, width // 16 + 1)))
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)[0]
    noisy = smooth.permute(1, 2, 0).numpy() + rng.normal(0, 8, (height, width, 3))
    return noisy.clip(0, 255).astype(np.uint8)


def normalised(*images: NDArray[np.uint8]) -> torch.Tensor:
    return (torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() - MEAN) / DIVISOR


def settled_net(name: str, *, n_classes: int = 1, seed: int = 0, spec: QuantSpec | None = None) -> SegmentationNet:
    """A random network whose batch statistics fit its activations, as after a training; in evaluation mode."""
    net = build_net(name, n_classes, seed=seed)
    if spec is not None:
        quantize_module(net, spec)
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
            norm.weight.copy_(torch.rand(norm.weight.shape, generator=generator) * 2 - 0.4)  # some gains below 0
            norm.bias.copy_(torch.rand(norm.bias.shape, generator=generator) - 0.3)
        net.train()(normalised(image(4 * net.stride, 4 * net.stride, 1), image(4 * net.stride, 4 * net.stride, 2)))
    return net.eval()


def card(name: str, n_classes: int = 1, spec: QuantSpec | None = None) -> ModelCard:
    classes = tuple(f"class {index}" for index in range(n_classes))
    return ModelCard(name, classes, 0.5, None, 100.0, InstanceSettings(min_area=9.0), spec)


def packed_net(net: SegmentationNet, name: str, spec: QuantSpec | None = None) -> Artifact:
    """The network as a packed model, without ranges for INT8."""
    plain = bake(net)
    return Artifact(
        card=card(name, net.n_classes, spec),
        stride=net.stride,
        halo_px=net.halo_px,
        licence="CC0-1.0",
        members=(pack_net(net),),
        graph=weightless_graph(plain),
    )


def with_ranges(artifact: Artifact, ranges: dict[str, tuple[float, float]]) -> Artifact:
    return dataclasses.replace(artifact, members=(dataclasses.replace(artifact.members[0], activations=ranges),))
