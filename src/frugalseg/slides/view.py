"""A slide at another pixel size, in which neighbouring reads join without a seam.

Where rectangles are resampled one by one by an image library, the weights depend on where the rectangle begins, and
the last bit of a float on how long its rows are. Here a pixel's weights depend on its place in the whole view alone,
and the sums are of integers: the same pixel has the same value in whatever rectangle it is read.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from frugalseg.arrays import Image
from frugalseg.slides.base import Level, Slide
from frugalseg.slides.bounds import check_region

_SOURCE_PIXELS = 8 * 10**6
"""Of the level, read at once for a part of a rectangle."""

_BLOCK_ROWS, _BLOCK_COLUMNS = 128, 256
"""Of the view, resampled at once: what that takes stays in the processor's cache."""

_WEIGHT_BITS = 11
"""Both passes together and 8 bits of colour stay below 2³⁰."""


class SlideView:
    """A slide resampled so that a pixel is `factor` pixels of level 0 wide.

    Parameters
    ----------
    slide
        Stays the caller's to close.
    factor
        Level 0 pixels for one of the view's, along a side; below 1 enlarges.

    Raises
    ------
    ValueError
        The factor is not a positive number.

    Notes
    -----
    A triangle as wide as two pixels of the coarser side, which averages where it shrinks: the filter by which
    networks' images are resized. The view has round(size / factor) pixels, at least one, and covers the whole slide.
    It is made from the coarsest level that is not coarser than the view itself.
    """

    def __init__(self, slide: Slide, factor: float) -> None:
        if not (math.isfinite(factor) and factor > 0):
            raise ValueError(f"a view's factor must be positive, got {factor}")
        self.slide = slide
        self.factor = factor
        finest = slide.levels[0]
        self.width = max(1, round(finest.width / factor))
        self.height = max(1, round(finest.height / factor))
        self.level = max(
            (number for number, level in enumerate(slide.levels) if _is_finer(level, self.width, self.height)),
            default=0,
        )

    @property
    def pixel_size_um(self) -> float | None:
        """Of the view's pixels; None where the slide's is unknown."""
        size = self.slide.pixel_size_um
        return None if size is None else size * self.factor

    def read(self, x: int, y: int, width: int, height: int) -> Image:
        """RGB pixels (height, width, 3) of a rectangle of the view; white outside.

        Raises
        ------
        InputError
            More than 64 megapixels at once, or the slide cannot be decoded.
        """
        check_region(self.slide, self.level, width, height)
        region = np.full((height, width, 3), 255, dtype=np.uint8)
        level = self.slide.levels[self.level]
        top, bottom = max(y, 0), min(y + height, self.height)
        left, right = max(x, 0), min(x + width, self.width)
        if top >= bottom or left >= right:
            return region
        rows, columns = self._steps(level)
        for first in range(left, right, columns):
            for upper in range(top, bottom, rows):
                last, lower = min(first + columns, right), min(upper + rows, bottom)
                self._fill(region[upper - y : lower - y, first - x : last - x], first, upper)
        return region

    def _steps(self, level: Level) -> tuple[int, int]:
        """Rows and columns of the view that are made at once, so that little of the level is in memory."""
        down, across = level.height / self.height, level.width / self.width
        columns = max(1, min(2048, int(math.sqrt(_SOURCE_PIXELS) / max(across, 1))))
        return max(1, min(2048, int(_SOURCE_PIXELS / (columns * max(across, 1) * max(down, 1))))), columns

    def _fill(self, part: Image, left: int, top: int) -> None:
        """Make one part of the view: its source at once, its pixels block by block, which stay in the processor."""
        level, (height, width) = self.slide.levels[self.level], part.shape[:2]
        down = functools.partial(_weights, level.height, self.height)
        across = functools.partial(_weights, level.width, self.width)
        rows, columns = down(top, top + height), across(left, left + width)
        source = self.slide.read_region(self.level, columns.start, rows.start, columns.extent, rows.extent)
        if columns.is_identity and rows.is_identity:
            part[:] = source
            return
        for upper in range(0, height, _BLOCK_ROWS):
            lower = min(upper + _BLOCK_ROWS, height)
            vertical = down(top + upper, top + lower)
            above = source[vertical.start - rows.start :][: vertical.extent]
            for first in range(0, width, _BLOCK_COLUMNS):
                last = min(first + _BLOCK_COLUMNS, width)
                horizontal = across(left + first, left + last)
                pixels = above[:, horizontal.start - columns.start :][:, : horizontal.extent]
                part[upper:lower, first:last] = _resampled(pixels, horizontal, vertical)


def _resampled(pixels: Image, across: _Weights, down: _Weights) -> Image:
    height, width = down.matrix.shape[0], across.matrix.shape[0]
    # Rows first: they are contiguous, so this is fast; then columns, with the rows' sums kept in full.
    sums = down.matrix @ pixels.astype(np.int32).reshape(down.extent, -1)
    turned = np.ascontiguousarray(sums.reshape(height, across.extent, 3).transpose(1, 0, 2))
    sums = across.matrix @ turned.reshape(across.extent, -1)
    rounded = (sums + (1 << (2 * _WEIGHT_BITS - 1))) >> (2 * _WEIGHT_BITS)
    return np.asarray(rounded.reshape(width, height, 3).transpose(1, 0, 2), dtype=np.uint8)


def _is_finer(level: Level, width: int, height: int) -> bool:
    """Whether a level has at least the pixels of the view, less the one that rounding may cost."""
    return level.width >= width - 1 and level.height >= height - 1


@dataclass(frozen=True)
class _Weights:
    """How pixels of a side are made: `extent` source pixels from `start`, and integers that sum to 2¹¹ in each row."""

    start: int
    extent: int
    matrix: sparse.csr_array
    is_identity: bool


@functools.lru_cache(maxsize=1024)
def _weights(n_source: int, n_view: int, first: int, last: int) -> _Weights:
    """Weights of the view's pixels first…last-1 along a side on which `n_source` pixels become `n_view`."""
    step = n_source / n_view
    # Sizes that differ by rounding alone: a copy, shifted by less than a pixel at the far end, is sharper.
    if abs(n_source - n_view) <= 1:
        step = 1.0
    reach = max(step, 1.0)
    centre = (np.arange(first, last) + 0.5) * step - 0.5
    lowest = np.ceil(centre - reach).astype(np.int64)
    taps = lowest[:, None] + np.arange(2 * math.ceil(reach) + 1)
    share = np.maximum(0.0, 1.0 - np.abs(taps - centre[:, None]) / reach)
    share[(taps < 0) | (taps >= n_source)] = 0.0
    empty = share.sum(axis=1) == 0.0  # the pixel that a level, rounded down, lacks at its end
    taps[empty, 0], share[empty, 0] = n_source - 1, 1.0
    whole = _whole_numbers(share / share.sum(axis=1, keepdims=True))
    used = whole > 0
    start, end = int(taps[used].min()), int(taps[used].max()) + 1
    rows = np.repeat(np.arange(last - first), used.sum(axis=1))
    matrix = sparse.csr_array((whole[used], (rows, taps[used] - start)), shape=(last - first, end - start))
    is_identity = end - start == last - first and bool((used.sum(axis=1) == 1).all())
    return _Weights(start, end - start, matrix, is_identity)


def _whole_numbers(share: NDArray[np.float64]) -> NDArray[np.int32]:
    """Rows that sum to 1 as integers that sum to 2¹¹; the largest takes what rounding leaves."""
    whole = np.rint(share * (1 << _WEIGHT_BITS)).astype(np.int32)
    largest = whole.argmax(axis=1)
    whole[np.arange(len(whole)), largest] += (1 << _WEIGHT_BITS) - whole.sum(axis=1, dtype=np.int32)
    return whole
