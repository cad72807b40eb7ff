"""What runs a network: one small protocol, one module for each way of running it."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Engine"]


class Engine(Protocol):
    """Turns images at the network's scale into probability maps.

    Attributes
    ----------
    stride
        Heights and widths given to :meth:`run` are multiples of this.
    halo_px
        Radius of the network's receptive field.
    how
        Library, precision and device, such as ``openvino int8``: others give other bytes.
    """

    @property
    def stride(self) -> int: ...

    @property
    def halo_px(self) -> int: ...

    @property
    def how(self) -> str: ...

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probability maps (N, C + 2, H, W) of images (N, H, W, 3), colours 0-255."""
        ...

    def describe(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The same, and descriptors (N, D) of the images: spatial means of the last encoder output."""
        ...

    def release(self) -> None:
        """Give back the memory that runs took, as far as the library can; the next run takes it again."""
        ...
