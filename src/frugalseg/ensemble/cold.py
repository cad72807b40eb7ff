"""Before the first annotation: an encoder that has seen other pictures tells images apart."""

from __future__ import annotations

from collections.abc import Callable

from frugalseg.engines.torch import TorchEngine
from frugalseg.errors import ConfigError
from frugalseg.images import Sample
from frugalseg.nets import NETS, build_net
from frugalseg.train.plan import LARGEST_SCALE

UNKNOWN_SCALE_PX = 512
"""Where nothing is known of the objects' size, images are brought to about this height and width."""


def cold_engine(net: str) -> TorchEngine:
    """An engine whose descriptors are those of the pretrained encoder; its maps mean nothing.

    Raises
    ------
    ConfigError
        The network has no pretrained weights, or they are not installed.
    """
    try:
        built = build_net(net, pretrained=True)
    except ValueError as error:
        raise ConfigError("net", str(error)) from None
    if not built.encoder_parameters():
        names = ", ".join(name for name in NETS if build_net(name).encoder_parameters())
        raise ConfigError("net", f"{net} has no pretrained encoder, so it cannot choose without labels; use {names}")
    return TorchEngine(built.eval())


def cold_scale(diameter_px: float | None, net: str) -> Callable[[Sample], float]:
    """Factor to the network's scale: from the objects' usual diameter where the user knows it, else by size alone."""
    if diameter_px:
        factor = min(LARGEST_SCALE, NETS[net].default_object_diameter_px / diameter_px)
        return lambda sample: factor
    return lambda sample: min(1.0, UNKNOWN_SCALE_PX / max(1, min(_size(sample))))


def _size(sample: Sample) -> tuple[int, int]:
    return sample.size if sample.window is None else (sample.window[3], sample.window[2])
