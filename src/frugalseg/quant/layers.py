"""Quantizers on the layers of a network, by name in :data:`QUANTIZERS`: put on, read off, baked in.

Training code does not know which quantizer is on: it trains ``net.parameters()`` as ever. ``net`` may be copied deeply
and saved by its ``state_dict``; to load one, put the same quantizers on first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from frugalseg.errors import ConfigError, Problem, TrainingError
from frugalseg.quant.base import Quantizer
from frugalseg.quant.dorefa import Dorefa
from frugalseg.quant.inq import Inq
from frugalseg.quant.lsq import Lsq
from frugalseg.quant.packing import empty_codes
from frugalseg.quant.spec import Method, QuantSpec, level_table, lsq_bits
from frugalseg.quant.tensors import ChannelLayout, QuantizedTensor
from frugalseg.quant.ternary import Ttq, Twn

QUANTIZERS: dict[Method, type[Quantizer]] = {"inq": Inq, "dorefa": Dorefa, "twn": Twn, "ttq": Ttq, "lsq": Lsq}

Layer = nn.Conv2d | nn.ConvTranspose2d
Net = TypeVar("Net", bound=nn.Module)


Make = Callable[[str, Tensor, ChannelLayout], Quantizer]
"""A quantizer for a layer: from its name, weight and layout."""


def quantize_module(net: nn.Module, spec: QuantSpec, make: Make | None = None) -> list[str]:
    """Put quantizers on the weights of `net`, in place.

    They start from the weights as they are now (INQ's exponents, the learned scales): first load or train those. Make
    the optimiser and averages afterwards, since there may be new parameters.

    Parameters
    ----------
    net, spec
        Network; which quantizer, on which layers.
    make
        Makes another quantizer than that of ``spec.method``; for controls.

    Returns
    -------
    Names of the layers quantized: all convolutions and transposed convolutions but ``spec.float_layers``.

    Raises
    ------
    ConfigError
        A pattern of ``spec.float_layers`` fits no layer, or nothing is left to quantize.
    ValueError
        `net` is quantized already.
    TrainingError
        A weight is not finite.
    """
    layers = dict(_layers(net))
    if quantizers(net):
        raise ValueError("the network is quantized already")
    problems = [
        Problem("float_layers", f"no layer's name fits {pattern!r}")
        for pattern in spec.float_layers
        if not any(fnmatchcase(name, pattern) for name in layers)
    ]
    chosen = {
        name: layer
        for name, layer in layers.items()
        if not any(fnmatchcase(name, pattern) for pattern in spec.float_layers)
    }
    if not chosen:
        problems.append(Problem("float_layers", "leaves no layer to quantize"))
    if problems:
        raise ConfigError.of(problems)
    for name, layer in chosen.items():
        if not bool(torch.isfinite(layer.weight).all()):
            raise TrainingError(f"{name}: a weight is not finite")
    for name, layer in chosen.items():
        layout = ChannelLayout.of(
            tuple(layer.weight.shape),
            spec.granularity,
            transposed=isinstance(layer, nn.ConvTranspose2d),
            groups=layer.groups,
        )
        if make is None:
            quantizer = QUANTIZERS[spec.method](layer.weight, layout, spec.bits)
        else:
            quantizer = make(name, layer.weight, layout)
        quantizer.requires_grad_(layer.weight.requires_grad)
        parametrize.register_parametrization(layer, "weight", quantizer)
    return list(chosen)


def quantizers(net: nn.Module) -> dict[str, tuple[Layer, Quantizer]]:
    """The quantized layers of `net`, by name."""
    found = {}
    for name, layer in _layers(net):
        if parametrize.is_parametrized(layer, "weight"):
            quantizer = _parametrizations(layer)[0]
            if isinstance(quantizer, Quantizer):
                found[name] = (layer, quantizer)
    return found


@torch.no_grad()
def effective_weights(net: nn.Module) -> dict[str, Tensor]:
    """The weights that quantized layers compute with, by tensor name (``….weight``)."""
    return {f"{name}.weight": layer.weight.clone() for name, (layer, _) in quantizers(net).items()}


def latent_weights(net: nn.Module) -> dict[str, Tensor]:
    """The float weights behind, by tensor name. INQ's have no meaning where they are frozen."""
    return {f"{name}.weight": latent_weight(layer).detach().clone() for name, (layer, _) in quantizers(net).items()}


def scale_parameters(net: nn.Module) -> list[nn.Parameter]:
    """Scales that training learns (LSQ, TTQ), for who wants them to learn at a rate of their own."""
    return [parameter for _, quantizer in quantizers(net).values() for parameter in quantizer.parameters()]


@torch.no_grad()
def to_codes(net: nn.Module) -> dict[str, QuantizedTensor]:
    """Codes, levels and scales of the quantized layers, by tensor name; empty where there are none.

    ``dequantize()`` of each gives what :func:`effective_weights` gives, to the bit. LSQ's codes have as few bits as the
    levels that the layer uses.

    Raises
    ------
    ValueError
        Some weights under INQ are not frozen, or a control is on them.
    """
    tensors = {}
    for name, (layer, quantizer) in quantizers(net).items():
        layout = quantizer.layout
        try:
            split = quantizer.split(latent_weight(layer).reshape(layout.view))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        method = next(key for key, kind in QUANTIZERS.items() if isinstance(quantizer, kind))
        used = _array(split.level)
        bits = lsq_bits(used) if method == "lsq" else quantizer.bits
        levels = level_table(method, bits)
        codes = empty_codes(layout.shape, bits)
        codes[...] = np.searchsorted(levels, used).reshape(layout.shape)
        tensors[f"{name}.weight"] = QuantizedTensor(
            bits=bits,
            codes=codes,
            levels=levels,
            scale=_array(split.scale).reshape(-1),
            layout=layout,
            negative_scale=None if split.negative_scale is None else _array(split.negative_scale).reshape(-1),
        )
    return tensors


@torch.no_grad()
def bake(net: Net) -> Net:
    """A plain copy of `net` that holds the effective weights as its own; `net` stays as it was.

    Not by ``parametrize.remove_parametrizations``: a deep copy shares the class that torch made for its original, and
    removing changes that class, which would break the other one.
    """
    plain = copy.deepcopy(net)
    for layer, _ in quantizers(plain).values():
        kind = parametrize.type_before_parametrizations(layer)
        weight = nn.Parameter(layer.weight, requires_grad=latent_weight(layer).requires_grad)
        bias = layer.bias
        del layer.parametrizations, layer.bias
        layer.__class__ = kind
        layer.weight = weight
        layer.bias = bias  # put in again, so that parameters come in the usual order
    return plain


def _layers(net: nn.Module) -> Iterator[tuple[str, Layer]]:
    for name, module in net.named_modules():
        if isinstance(module, Layer):
            yield name, module


def _parametrizations(layer: Layer) -> parametrize.ParametrizationList:
    lists = cast(nn.ModuleDict, layer.parametrizations)
    return cast(parametrize.ParametrizationList, lists["weight"])


def latent_weight(layer: Layer) -> Tensor:
    """The float weight behind that of a quantized layer, which training moves."""
    return _parametrizations(layer).original


def _array(tensor: Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
    return values
