"""What a packed model is: all that prediction needs, without torch and without the training code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frugalseg.model_files import DIVISOR, MEAN, ModelCard
from frugalseg.quant.tensors import QuantizedTensor

NOT_STATED = "not stated"
"""The licence of weights of which nobody said one."""

FloatTensor = NDArray[np.float32] | NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class Member:
    """The weights of one network of an ensemble.

    Attributes
    ----------
    quantized
        Weights as codes, by name. In a member that was read, each access decodes anew and nothing is kept, so that
        memory holds what is in use.
    floats
        All other tensors, float32 or float16, by name; in a member that was read they are read-only views of the file.
    activations
        Lowest and highest value of what flows between layers, by name: the ranges for INT8. May be empty.
    """

    quantized: Mapping[str, QuantizedTensor]
    floats: Mapping[str, FloatTensor]
    activations: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Artifact:
    """A packed model.

    Attributes
    ----------
    card
        Name of the network, classes, scale, instance settings.
    stride, halo_px
        As the network has them: sizes are padded to multiples of the one, tiles overlap by the other.
    licence
        Of the weights.
    members
        One for each network; several are an ensemble. All have tensors of the same names and shapes.
    graph
        A weightless ONNX model whose initialisers bear the tensors' names; its bytes are not looked at here.
    provenance
        Where the weights come from: whatever JSON holds.
    mean, divisor
        Normalisation of colours 0-255: ``(x - mean) / divisor``.
    """

    card: ModelCard
    stride: int
    halo_px: int
    licence: str
    members: tuple[Member, ...]
    graph: bytes | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    mean: float = MEAN
    divisor: float = DIVISOR
