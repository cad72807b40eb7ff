"""Pixels of a slide for overlapping tiles: what one tile's halo has read need not be decoded again for the next."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from frugalseg.arrays import Image
from frugalseg.slides import SlideView
from frugalseg.streaming.plan import Rect

SQUARE_PX = 512
CACHE_BYTES = 64 * 2**20


class CachedView:
    """A view whose last squares are kept in memory; for one thread.

    A pixel of a :class:`SlideView` has the same value in whatever rectangle it is read, so what comes from here is what
    the view itself gives.

    Parameters
    ----------
    view
        What is read.
    cache_bytes
        How much of it is kept between reads.
    """

    def __init__(self, view: SlideView, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._view = view
        self._whole = Rect(0, 0, view.width, view.height)
        self._squares: OrderedDict[tuple[int, int], Image] = OrderedDict()
        self._cache_bytes = cache_bytes

    def read(self, window: Rect) -> Image:
        """RGB pixels (H, W, 3) of a window within the view."""
        result = np.empty((window.height, window.width, 3), dtype=np.uint8)
        for row in range(window.top // SQUARE_PX, (window.bottom - 1) // SQUARE_PX + 1):
            columns = range(window.left // SQUARE_PX, (window.right - 1) // SQUARE_PX + 1)
            self._fetch(row, columns)
            for column in columns:
                self._squares.move_to_end((row, column))
                area = self._area(row, column, 1)
                shared = area.overlap(window)
                result[shared.within(window)] = self._squares[row, column][shared.within(area)]
        while self._squares and sum(square.nbytes for square in self._squares.values()) > self._cache_bytes:
            self._squares.popitem(last=False)
        return result

    def _fetch(self, row: int, columns: range) -> None:
        """Read the squares that are missing, neighbours at once."""
        missing = [column for column in columns if (row, column) not in self._squares]
        while missing:
            n = next((n for n in range(1, len(missing)) if missing[n] != missing[0] + n), len(missing))
            area = self._area(row, missing[0], n)
            pixels = self._view.read(area.left, area.top, area.width, area.height)
            for step in range(n):
                left = step * SQUARE_PX
                self._squares[row, missing[0] + step] = pixels[:, left : left + SQUARE_PX].copy()
            missing = missing[n:]

    def _area(self, row: int, column: int, n: int) -> Rect:
        """What `n` squares of a row cover of the view."""
        left, top = column * SQUARE_PX, row * SQUARE_PX
        return Rect(left, top, left + n * SQUARE_PX, top + SQUARE_PX).overlap(self._whole)
