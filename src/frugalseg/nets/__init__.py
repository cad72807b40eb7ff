"""Networks, by name in :data:`NETS`."""

from __future__ import annotations

import torch

from frugalseg.nets.base import SegmentationNet, probabilities
from frugalseg.nets.fcn import FCN
from frugalseg.nets.lite import LiteNet, load_imagenet_weights
from frugalseg.nets.unet import UNet

__all__ = ["NETS", "SegmentationNet", "build_net", "probabilities"]

NETS: dict[str, type[SegmentationNet]] = {"fcn": FCN, "lite": LiteNet, "unet": UNet}


def build_net(name: str, n_classes: int = 1, *, seed: int = 0, pretrained: bool = False) -> SegmentationNet:
    """Make a network whose random weights follow from `seed` alone.

    Parameters
    ----------
    name
        A key of :data:`NETS`.
    n_classes
        Object classes, background not counted.
    seed
        Seed of the initial weights; torch's global generator is left as it was.
    pretrained
        Load ImageNet weights into the encoder of ``lite``; the others have none.
    """
    if name not in NETS:
        raise ValueError(f"unknown network {name!r}; there are {', '.join(sorted(NETS))}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net: SegmentationNet = NETS[name](n_classes)
    if pretrained and isinstance(net, LiteNet):
        load_imagenet_weights(net)
    return net
