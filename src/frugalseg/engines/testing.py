"""An engine without a network, for tests of whatever uses engines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from frugalseg.model_files import DIVISOR, MEAN


class DarknessEngine:
    """Sees an object wherever the image, averaged over 3x3 pixels, is darker than mid-grey; sees no borders.

    Its descriptor of an image is the mean colour.

    Attributes
    ----------
    sizes
        Height and width of whatever was run, in order.
    """

    stride = 8
    halo_px = 8
    how = "darkness"

    def __init__(self, sharpness: float = 6.0) -> None:
        self.sharpness = sharpness
        self.sizes: list[tuple[int, int]] = []

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.sizes.append((images.shape[1], images.shape[2]))
        grey = (images.astype(np.float32).mean(axis=3) - MEAN) / DIVISOR
        blurred = ndimage.uniform_filter(grey, size=(1, 3, 3), mode="nearest")
        front = 1 / (1 + np.exp(self.sharpness * blurred))
        return np.stack([1 - front, front, np.zeros_like(front)], axis=1).astype(np.float32)

    def describe(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self.run(images), images.mean(axis=(1, 2)).astype(np.float32)

    def release(self) -> None:
        """Nothing to give back."""
