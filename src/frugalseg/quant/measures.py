"""What quantization did to each layer, in numbers; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frugalseg.quant.packing import code_entropy, packed_size
from frugalseg.quant.tensors import QuantizedTensor


@dataclass(frozen=True)
class LayerReport:
    """One quantized weight tensor.

    Attributes
    ----------
    name
        Name of the tensor.
    bits
        Bits a code.
    n_weights
        Codes.
    n_levels, levels_used
        Levels there are, and those that some weight has.
    entropy
        Bits a code holds, see :func:`frugalseg.quant.packing.code_entropy`.
    packed_bytes
        Bytes of the packed codes; scales not counted.
    relative_rmse
        Root mean square of what quantization changed over that of the float weights; None where those are unknown
        or all zero.
    """

    name: str
    bits: int
    n_weights: int
    n_levels: int
    levels_used: int
    entropy: float
    packed_bytes: int
    relative_rmse: float | None


def layer_reports(
    tensors: Mapping[str, QuantizedTensor], reference: Mapping[str, NDArray[np.float32]] | None = None
) -> list[LayerReport]:
    """A report for each of `tensors`, in order; `reference` holds the float weights under the same names."""
    reports = []
    for name, tensor in tensors.items():
        original = None if reference is None else reference.get(name)
        reports.append(
            LayerReport(
                name=name,
                bits=tensor.bits,
                n_weights=tensor.codes.size,
                n_levels=len(tensor.levels),
                levels_used=int(np.count_nonzero(np.bincount(tensor.codes.reshape(-1)))),
                entropy=code_entropy(tensor.codes),
                packed_bytes=packed_size(tensor.codes.size, tensor.bits),
                relative_rmse=None if original is None else relative_rmse(original, tensor.dequantize()),
            )
        )
    return reports


def relative_rmse(reference: NDArray[np.float32], values: NDArray[np.float32]) -> float | None:
    """Root mean square of ``values - reference`` over that of `reference`; None where the latter is 0."""
    size = float(np.square(reference, dtype=np.float64).sum())
    if size == 0:
        return None
    return float(np.sqrt(np.square(values.astype(np.float64) - reference).sum() / size))
