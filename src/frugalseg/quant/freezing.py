"""Portions, INQ's and its controls': freezing part of a network's weights after another."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from frugalseg.errors import TrainingError
from frugalseg.quant.layers import Layer, quantizers
from frugalseg.quant.portioned import Portioned


def advance_portion(net: nn.Module, portion: float, source: nn.Module | None = None) -> None:
    """Freeze the largest weights of each layer, or output channel, until `portion` of them are frozen.

    "Pruning-inspired" partition of INQ (Zhou et al., ICLR 2017, sec. 2.2): the larger weights matter more, go first.

    Parameters
    ----------
    net
        A network under INQ, or under one of its controls; changed in place.
    portion
        Accumulated, above 0 and at most 1. One that is frozen already changes no weight of `net`.
    source
        A network of the same kind whose weights are better ones to freeze, such as the moving average of `net`. `net`
        first takes over all of it, the statistics of its batch normalisations too: weights frozen from one network
        and weights left from another would never have worked together. The caller then restarts the average from
        `net`, and the optimiser's rate and momentum.

    Raises
    ------
    ValueError
        `portion` is out of range, `net` is not under INQ, or `source` has other weights frozen than `net`.
    TrainingError
        A weight is not finite. Nothing was changed, as with the other error.
    """
    if not 0 < portion <= 1:
        raise ValueError(f"portion must be above 0 and at most 1, not {portion}")
    mine, theirs = _portioned(net), _portioned(net if source is None else source)
    if mine.keys() != theirs.keys():
        raise ValueError("source is another network than net, or is quantized otherwise")
    for name, (layer, quantizer) in theirs.items():
        if not torch.equal(quantizer.frozen, mine[name][1].frozen):
            raise ValueError(f"{name}: source has other weights frozen than net")
        if not bool(torch.isfinite(_weight(layer)).all()):
            raise TrainingError(f"{name}: a weight is not finite")
    if source is not None:
        net.load_state_dict(source.state_dict())
    for layer, quantizer in mine.values():
        quantizer.freeze_largest(_weight(layer), portion)


def frozen_share(net: nn.Module) -> float:
    """Share of the weights under INQ that are frozen, over all layers."""
    masks = [quantizer.is_frozen for _, quantizer in _portioned(net).values()]
    return sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


@torch.no_grad()
def _weight(layer: Layer) -> Tensor:
    return layer.weight


def _portioned(net: nn.Module) -> dict[str, tuple[Layer, Portioned]]:
    found = {name: (layer, q) for name, (layer, q) in quantizers(net).items() if isinstance(q, Portioned)}
    if not found:
        raise ValueError("the network is not under INQ")
    return found
