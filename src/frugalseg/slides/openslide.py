"""Scanners' own formats as slides, through OpenSlide. Extra ``wsi``."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import openslide

from frugalseg.arrays import Image
from frugalseg.errors import InputError
from frugalseg.slides.base import Level, Slide
from frugalseg.slides.bounds import check_region, checked_levels, overlap
from frugalseg.slides.faults import telling
from frugalseg.slides.pixel_size import number, stated

BLOCK_PX = 1024
"""Side of the squares on the grid of a level."""

_CACHE_BLOCKS = 8
_PART_PIXELS = 4 * 2**20


class OpenSlideSlide(Slide):
    """A slide of a scanner, decoded in this process.

    Raises
    ------
    InputError
        OpenSlide does not know the file, or it is damaged, or what it says of its pixels cannot be.

    Notes
    -----
    OpenSlide takes the place of a region in whole pixels of level 0, and blends neighbouring pixels where that is none
    of the level's own. From levels whose downsample is no whole number, squares on a fixed grid are read, so that a
    pixel is the same whichever region it is in.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[int, int, int], Image] = OrderedDict()
        with telling(path):
            try:
                self._slide = openslide.OpenSlide(path)
            except openslide.OpenSlideUnsupportedFormatError:
                raise InputError(path, "is no slide that OpenSlide knows") from None
            try:
                self._levels = checked_levels(path, self._slide.level_dimensions)
                self._pixel_size_um = _pixel_size(path, self._slide)
            except BaseException:
                self._slide.close()
                raise

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def levels(self) -> tuple[Level, ...]:
        """As OpenSlide tells; labels and macros are none."""
        return self._levels

    @property
    def pixel_size_um(self) -> float | None:
        """Where the scanner says it."""
        return self._pixel_size_um

    def read_region(self, level: int, x: int, y: int, width: int, height: int) -> Image:
        """Pixels of a rectangle; see :meth:`Slide.read_region`. What the scanner left out is white."""
        check_region(self, level, width, height)
        region = np.full((height, width, 3), 255, dtype=np.uint8)
        inside = overlap(self._levels[level], x, y, width, height)
        if inside is None:
            return region
        (rows, columns), _ = inside
        with self._lock, telling(self._path):
            for top, left, part in self._parts(level, rows, columns):
                upper, bottom = max(top, rows.start), min(top + part.shape[0], rows.stop)
                first, right = max(left, columns.start), min(left + part.shape[1], columns.stop)
                region[upper - y : bottom - y, first - x : right - x] = part[
                    upper - top : bottom - top, first - left : right - left
                ]
        return region

    def close(self) -> None:
        """Close the file."""
        self._cache.clear()
        self._slide.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def _parts(self, level: int, rows: slice, columns: slice) -> Iterator[tuple[int, int, Image]]:
        """Row, column and colours of parts that cover a rectangle of the level, which may be larger."""
        if self._slide.level_downsamples[level].is_integer():
            width = columns.stop - columns.start
            step = max(1, _PART_PIXELS // width)
            for top in range(rows.start, rows.stop, step):
                yield top, columns.start, self._read(level, columns.start, top, width, min(step, rows.stop - top))
            return
        for row in range(rows.start // BLOCK_PX, (rows.stop - 1) // BLOCK_PX + 1):
            for column in range(columns.start // BLOCK_PX, (columns.stop - 1) // BLOCK_PX + 1):
                yield row * BLOCK_PX, column * BLOCK_PX, self._block(level, row, column)

    def _block(self, level: int, row: int, column: int) -> Image:
        """Colours of a square of the grid, from the cache where they are there."""
        key = (level, row, column)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        size = self._levels[level]
        left, top = column * BLOCK_PX, row * BLOCK_PX
        width, height = min(BLOCK_PX, size.width - left), min(BLOCK_PX, size.height - top)
        self._cache[key] = block = self._read(level, left, top, width, height)
        while len(self._cache) > _CACHE_BLOCKS:
            self._cache.popitem(last=False)
        return block

    def _read(self, level: int, left: int, top: int, width: int, height: int) -> Image:
        downsample = self._slide.level_downsamples[level]
        corner = (round(left * downsample), round(top * downsample))
        pixels = self._slide.read_region(corner, level, (width, height))
        if pixels.getchannel("A").getextrema() == (255, 255):
            return np.asarray(pixels.convert("RGB"))
        return _over_white(np.asarray(pixels))


def _over_white(pixels: Image) -> Image:
    """RGB of RGBA (height, width, 4) over white."""
    opaque = pixels[..., 3:].astype(np.uint16)
    return ((pixels[..., :3] * opaque + 255 * (255 - opaque) + 127) // 255).astype(np.uint8)


def _pixel_size(path: Path, slide: openslide.OpenSlide) -> float | None:
    texts = [slide.properties.get(f"openslide.mpp-{axis}") for axis in "xy"]
    if texts[0] is None or texts[1] is None:
        return None
    return stated(path, "microns per pixel", *(number(path, "microns per pixel", text) for text in texts if text))
