"""Weights as 8-bit integers with one scale for each output channel: what INT8 convolutions compute with.

Few-bit codes often are such integers already: TWN, DoReFa up to 7 bits, LSQ up to 8 bits, and INQ where a channel's
weights span at most 7 exponents (2^6 = 64 fits into a signed byte, 2^7 does not).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frugalseg.quant.tensors import QuantizedTensor

LARGEST = 127
"""Magnitudes go up to here, so that a sign can be turned; -128 occurs only where LSQ's own codes hold it."""

_SHRINKS = np.concatenate([np.linspace(0.7, 1.0, 13), [LARGEST / 64]])  # 64: powers of two stay powers of two


@dataclass(frozen=True, eq=False)
class Int8Weights:
    """A weight tensor as integers; weight = integer times its channel's scale.

    Attributes
    ----------
    values
        int8, in the weight's own shape.
    scale
        float32, one for each output channel.
    exact
        For each output channel, whether integer times scale is the weight to the bit.
    relative_rmse
        Root mean square of the error over that of the weights; 0 where all channels are exact.
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]
    exact: NDArray[np.bool_]
    relative_rmse: float


def int8_weights(tensor: QuantizedTensor | NDArray[np.floating], *, axis: int = 0) -> Int8Weights:
    """The integers and scales of least error.

    Parameters
    ----------
    tensor
        Few-bit or float weights.
    axis
        Of the output channels: 0 for a convolution, 1 for a transposed one without groups.

    Returns
    -------
    Exact channels where the codes allow it; elsewhere the scale, of a few dozen tried, that leaves the least squared
    error.
    """
    weights = tensor.dequantize() if isinstance(tensor, QuantizedTensor) else np.asarray(tensor, dtype=np.float32)
    rows = np.moveaxis(weights, axis, 0).reshape(weights.shape[axis], -1)
    values, scale = np.zeros(rows.shape, dtype=np.int8), np.ones(len(rows), dtype=np.float32)
    fits = np.zeros(len(rows), dtype=bool)
    if isinstance(tensor, QuantizedTensor):
        levels = tensor.levels[tensor.codes]
        scales = _scale_of_each(tensor)
        for unit_levels, unit_scales in _integer_forms(
            *(np.moveaxis(array, axis, 0).reshape(rows.shape) for array in (levels, scales))
        ):
            fits |= _take_exact(rows, unit_levels, unit_scales, values, scale)
    values[~fits], scale[~fits] = _nearest(rows[~fits])
    exact = (values.astype(np.float32) * scale[:, None] == rows).all(axis=1)
    error = values.astype(np.float64) * scale[:, None] - rows
    power = float(np.mean(rows.astype(np.float64) ** 2))
    shape = np.moveaxis(weights, axis, 0).shape
    return Int8Weights(
        values=np.ascontiguousarray(np.moveaxis(values.reshape(shape), 0, axis)),
        scale=scale,
        exact=exact,
        relative_rmse=float(np.sqrt(np.mean(error**2) / power)) if power > 0 else 0.0,
    )


def _nearest(rows: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers and scale of least squared error for each row, among a few dozen scales around the largest weight's."""
    peak = np.abs(rows).max(axis=1, initial=0.0)
    peak = np.where(peak > 0, peak, LARGEST).astype(np.float32)
    best = np.full(len(rows), np.inf)
    scale = (peak / LARGEST).astype(np.float32)
    for shrink in _SHRINKS:
        candidate = (peak * np.float32(shrink / LARGEST)).astype(np.float32)
        rounded = np.clip(np.rint(rows / candidate[:, None]), -LARGEST, LARGEST)
        error = ((rounded * candidate[:, None] - rows) ** 2).sum(axis=1, dtype=np.float64)
        better = error < best
        best[better], scale[better] = error[better], candidate[better]
    values = np.clip(np.rint(rows / scale[:, None]), -LARGEST, LARGEST).astype(np.int8)
    return values, scale


def _scale_of_each(tensor: QuantizedTensor) -> NDArray[np.float32]:
    """The scale of each weight, in the weight's own shape."""
    view = tensor.layout.view
    scale = np.broadcast_to(tensor.scale.reshape(tensor.layout.group_shape), view)
    if tensor.negative_scale is not None:
        negative = tensor.levels[tensor.codes].reshape(view) < 0
        scale = np.where(negative, tensor.negative_scale.reshape(tensor.layout.group_shape), scale)
    return scale.reshape(tensor.layout.shape)


def _integer_forms(
    levels: NDArray[np.float32], scales: NDArray[np.float32]
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Levels as they are, and as multiples of the row's smallest one; each with the scale of each weight."""
    magnitude = np.abs(levels)
    smallest = np.where(magnitude > 0, magnitude, np.inf).min(axis=1, keepdims=True)
    smallest = np.where(np.isfinite(smallest), smallest, 1).astype(np.float32)
    return [(levels, scales), (levels / smallest, scales * smallest)]


def _take_exact(
    rows: NDArray[np.float32],
    levels: NDArray[np.float32],
    scales: NDArray[np.float32],
    values: NDArray[np.int8],
    scale: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Put those rows into `values` and `scale` whose weights are 8-bit integers times one scale, to the bit; which."""
    one_scale = np.where(levels != 0, scales, 0).max(axis=1)
    one_scale = np.where(one_scale > 0, one_scale, 1).astype(np.float32)
    fits: NDArray[np.bool_] = (
        (levels == np.rint(levels)).all(axis=1) & (levels >= -128).all(axis=1) & (levels <= LARGEST).all(axis=1)
    )
    fits &= (levels * one_scale[:, None] == rows).all(axis=1)
    values[fits] = levels[fits].astype(np.int8)
    scale[fits] = one_scale[fits]
    return fits
