"""A quantized weight tensor: codes, levels and scales, and how output channels lie in it; without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frugalseg.quant.spec import Granularity

Codes = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class ChannelLayout:
    """Which weights share a scale.

    Attributes
    ----------
    shape
        Shape of the weight.
    view
        The same weights, reshaped so that output channels have axes of their own; mostly `shape` itself.
    axes
        Those axes of `view`, in the order of the output channels; none where the whole layer shares a scale.
    """

    shape: tuple[int, ...]
    view: tuple[int, ...]
    axes: tuple[int, ...]

    @classmethod
    def of(
        cls, shape: tuple[int, ...], granularity: Granularity, *, transposed: bool = False, groups: int = 1
    ) -> ChannelLayout:
        """Layout of a convolution's weight.

        A convolution's weight is (out, in / groups, H, W), a transposed one's (in, out / groups, H, W): there the
        output channels of group g go with the g-th part of the first axis, and two axes number them.
        """
        if granularity == "layer":
            return cls(shape, shape, ())
        if not transposed:
            return cls(shape, shape, (0,))
        if groups == 1:
            return cls(shape, shape, (1,))
        return cls(shape, (groups, shape[0] // groups, *shape[1:]), (0, 2))

    @property
    def n_groups(self) -> int:
        """Scales of the layer: 1, or its output channels."""
        return math.prod(self.view[axis] for axis in self.axes)

    @property
    def n_shared(self) -> int:
        """Weights that share a scale."""
        return math.prod(self.view[axis] for axis in self.shared_axes)

    @property
    def shared_axes(self) -> tuple[int, ...]:
        """Axes of `view` along which the scale is the same."""
        return tuple(axis for axis in range(len(self.view)) if axis not in self.axes)

    @property
    def group_shape(self) -> tuple[int, ...]:
        """Shape of the scales that broadcasts against `view`."""
        return tuple(size if axis in self.axes else 1 for axis, size in enumerate(self.view))


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """A weight tensor as codes.

    Attributes
    ----------
    bits
        Bits a code takes when packed.
    codes
        Places in `levels`, in the weight's own shape; ``uint8``, for 9 bits ``uint16``.
    levels
        float32, rising, at most ``2**bits``.
    scale
        float32, one for each group of `layout`.
    layout
        Which weights share a scale.
    negative_scale
        The scale of negative levels where it differs from `scale` (TTQ).

    Raises
    ------
    ValueError
        Shapes or codes do not belong together.
    """

    bits: int
    codes: Codes
    levels: NDArray[np.float32]
    scale: NDArray[np.float32]
    layout: ChannelLayout
    negative_scale: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if self.codes.shape != self.layout.shape or math.prod(self.layout.view) != self.codes.size:
            raise ValueError(f"codes of shape {self.codes.shape} do not fit {self.layout}")
        for scale in (self.scale, self.negative_scale):
            if scale is not None and scale.shape != (self.layout.n_groups,):
                raise ValueError(f"{scale.size} scales for {self.layout.n_groups} groups")
        if not 0 < len(self.levels) <= 2**self.bits:
            raise ValueError(f"{len(self.levels)} levels for {self.bits} bits")
        if self.codes.size and int(self.codes.max()) >= len(self.levels):
            raise ValueError(f"a code of {int(self.codes.max())} among {len(self.levels)} levels")

    def dequantize(self) -> NDArray[np.float32]:
        """The weights: to the bit those the network computed with when the codes were taken."""
        levels = self.levels[self.codes.reshape(self.layout.view)]
        scale = self.scale.reshape(self.layout.group_shape)
        if self.negative_scale is not None:
            scale = np.where(levels < 0, self.negative_scale.reshape(self.layout.group_shape), scale)
        return (levels * scale).reshape(self.layout.shape)
