"""A slide in memory: for pictures that are there already, and for tests."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from frugalseg.arrays import Image
from frugalseg.slides.base import Level, Slide
from frugalseg.slides.bounds import check_region, overlap


class ArraySlide(Slide):
    """An image of one level as a slide.

    Parameters
    ----------
    array
        Shape (H, W, 3), RGB; kept, not copied.
    pixel_size_um
        Of a pixel, where it is known.
    path
        What messages call it.
    """

    def __init__(self, array: Image, pixel_size_um: float | None = None, *, path: Path = Path("array")) -> None:
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
            raise ValueError(f"an RGB image of type uint8 is needed, got {array.dtype} of shape {array.shape}")
        self._array = array
        self._path = path
        self._pixel_size_um = pixel_size_um

    @property
    def path(self) -> Path:
        """What messages call it."""
        return self._path

    @property
    def levels(self) -> tuple[Level, ...]:
        """The one level."""
        return (Level(self._array.shape[1], self._array.shape[0], 1.0),)

    @property
    def pixel_size_um(self) -> float | None:
        """As given."""
        return self._pixel_size_um

    def read_region(self, level: int, x: int, y: int, width: int, height: int) -> Image:
        """A copy of the rectangle; see :meth:`Slide.read_region`."""
        check_region(self, level, width, height)
        region = np.full((height, width, 3), 255, dtype=np.uint8)
        inside = overlap(self.levels[level], x, y, width, height)
        if inside is not None:
            source, target = inside
            region[target] = self._array[source]
        return region

    def close(self) -> None:
        """Nothing to let go of."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()
