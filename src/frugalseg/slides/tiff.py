"""TIFF, pyramidal TIFF and OME-TIFF as slides: tiles and strips decoded one by one through tifffile."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import tifffile
from numpy.typing import NDArray

from frugalseg.arrays import Image
from frugalseg.errors import InputError
from frugalseg.images.decode import bits_to_drop
from frugalseg.slides.base import Level, Slide
from frugalseg.slides.bounds import check_region, checked_levels, overlap, similar
from frugalseg.slides.faults import telling
from frugalseg.slides.pieces import (
    PALETTE,
    channels,
    check_layout,
    decode_piece,
    has_plain_rows,
    piece_size,
    read_rows,
    to_colours,
)
from frugalseg.slides.pixel_size import tiff_pixel_size

_CACHE_BYTES = 64 * 2**20
_ROWS_BYTES = 16 * 2**20
_MAX_PAGES = 256
"""Pages looked at; a pyramid has its levels among the first."""

_SURVEY_PIECES = 64


@dataclass(frozen=True)
class _Plane:
    """One level: a page, or three, one a channel."""

    pages: tuple[Any, ...]

    @property
    def frame(self) -> Any:
        return self.pages[0].keyframe

    @property
    def size(self) -> tuple[int, int]:
        return int(self.frame.imagewidth), int(self.frame.imagelength)


class TiffSlide(Slide):
    """A TIFF file as a slide, decoded in this process.

    Raises
    ------
    InputError
        The file is damaged, or no picture that is read; see ``docs/reference/slides.md``.

    Notes
    -----
    Levels are the SubIFDs of the first page, or the pages flagged as reduced that have its shape; others (label, macro,
    further planes) are not looked at. 16-bit samples become 8-bit by one shift for the whole slide: by 0, 4 or 8 bits,
    after the largest sample of the coarsest level.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[int, int], Image] = OrderedDict()
        self._shift: int | None = None
        with telling(path):
            # Other files that OME-XML names are not opened.
            self._file = tifffile.TiffFile(path, _multifile=False)
            try:
                self._planes = _find_levels(path, self._file)
                self._levels = checked_levels(path, [plane.size for plane in self._planes])
                for plane in self._planes:
                    for page in plane.pages:
                        check_layout(path, page.aspage())
                self._pixel_size_um = tiff_pixel_size(path, self._file, self._file.pages.first)
            except BaseException:
                self._file.close()
                raise

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def levels(self) -> tuple[Level, ...]:
        """Finest first."""
        return self._levels

    @property
    def pixel_size_um(self) -> float | None:
        """As the file says, where that can be."""
        return self._pixel_size_um

    def read_region(self, level: int, x: int, y: int, width: int, height: int) -> Image:
        """Pixels of a rectangle; see :meth:`Slide.read_region`. Tiles that are not stored are white."""
        check_region(self, level, width, height)
        region = np.full((height, width, 3), 255, dtype=np.uint8)
        inside = overlap(self._levels[level], x, y, width, height)
        if inside is None:
            return region
        (rows, columns), _ = inside
        with self._lock, telling(self._path):
            for top, left, piece in self._pieces(level, rows, columns):
                bottom, right = min(top + piece.shape[0], rows.stop), min(left + piece.shape[1], columns.stop)
                upper, first = max(top, rows.start), max(left, columns.start)
                if upper < bottom and first < right:
                    region[upper - y : bottom - y, first - x : right - x] = piece[
                        upper - top : bottom - top, first - left : right - left
                    ]
        return region

    def close(self) -> None:
        """Close the file."""
        self._cache.clear()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def _pieces(self, level: int, rows: slice, columns: slice) -> Iterator[tuple[int, int, Image]]:
        """Row, column and colours of the pieces that a rectangle of the level touches."""
        plane = self._planes[level]
        frame = plane.frame
        width, height = piece_size(frame)
        if has_plain_rows(frame):
            row_bytes = width * frame.samplesperpixel * len(plane.pages) * np.dtype(frame.dtype).itemsize
            step = max(1, _ROWS_BYTES // row_bytes)
            for top in range(rows.start, rows.stop, step):
                yield top, 0, self._colours(level, _rows(self._path, plane, top, min(top + step, rows.stop)))
            return
        across = -(-frame.imagewidth // width)
        for row in range(rows.start // height, (rows.stop - 1) // height + 1):
            for column in range(columns.start // width, (columns.stop - 1) // width + 1):
                piece = self._piece(level, row * across + column)
                if piece is not None:
                    yield row * height, column * width, piece

    def _piece(self, level: int, index: int) -> Image | None:
        """Colours of a tile or strip, from the cache where they are there."""
        if (level, index) in self._cache:
            self._cache.move_to_end((level, index))
            return self._cache[level, index]
        samples = _samples(self._path, self._planes[level], index)
        if samples is None:
            return None
        self._cache[level, index] = piece = self._colours(level, samples)
        total = sum(cached.nbytes for cached in self._cache.values())
        while total > _CACHE_BYTES and len(self._cache) > 1:
            total -= self._cache.popitem(last=False)[1].nbytes
        return piece

    def _colours(self, level: int, samples: NDArray[Any]) -> Image:
        if self._shift is None:
            deep = samples.dtype != np.uint8 and self._planes[0].frame.photometric != PALETTE
            self._shift = _survey_shift(self._path, self._planes[-1]) if deep else 0
        return to_colours(self._path, self._planes[level].frame, samples, self._shift)


def _find_levels(path: Path, tiff: Any) -> list[_Plane]:
    """Levels, finest first."""
    if not len(tiff.pages):
        raise InputError(path, "is damaged: a TIFF file without an image")
    first = tiff.pages.first
    if tiff.is_ome and tiff.series and not tiff.is_shaped:
        return [_ome_plane(path, level) for level in tiff.series[0].levels]
    if first.subifds:
        reduced = [page.aspage() for page in itertools.islice(first.pages or (), _MAX_PAGES)]
    else:
        others = (page.aspage() for page in itertools.islice(tiff.pages, 1, _MAX_PAGES))
        reduced = [page for page in others if _is_level(path, first, page)]
    reduced.sort(key=lambda page: -int(page.imagewidth))
    return [_Plane((page,)) for page in (first, *reduced)]


def _is_level(path: Path, first: Any, page: Any) -> bool:
    """Whether a page is the first one in little, rather than a label or a further plane."""
    if not page.is_reduced or page.is_tiled != first.is_tiled or page.samplesperpixel != first.samplesperpixel:
        return False
    if not similar(first.imagewidth, first.imagelength, page.imagewidth, page.imagelength):
        return False
    if page.imagewidth > first.imagewidth:
        raise InputError(
            path,
            f"has a reduced page of {page.imagewidth} x {page.imagelength}, "
            f"larger than the image ({first.imagewidth} x {first.imagelength})",
        )
    return True


def _ome_plane(path: Path, series: Any) -> _Plane:
    """Pages of the first time and depth."""
    sizes = {axis: int(size) for axis, size in zip(series.axes, series.shape, strict=True)}
    leading = [axis for axis in series.axes if axis not in "YXS"]
    n_channels = sizes.get("C", 1)
    if "Y" not in sizes or "X" not in sizes or n_channels not in (1, 3) or (n_channels > 1 and "S" in sizes):
        raise InputError(path, f"has axes {series.axes} of sizes {series.shape}, only grey and RGB can be read")
    step = 1
    for axis in reversed(leading):
        if axis == "C":
            break
        step *= sizes[axis]
    pages = [series.pages[channel * step] for channel in range(n_channels)]
    if any(page is None for page in pages):
        raise InputError(path, "is damaged: a plane of its OME series is missing")
    return _Plane(tuple(page.aspage() for page in pages))


def _planes_of(plane: _Plane) -> list[tuple[Any, int]]:
    """(page, number of the plane in it) of everything whose samples lie side by side in a pixel."""
    frame = plane.frame
    n = int(frame.samplesperpixel) if frame.planarconfig == 2 else 1
    return [(page, number) for page in plane.pages for number in range(n)]


def _samples(path: Path, plane: _Plane, index: int) -> NDArray[Any] | None:
    frame = plane.frame
    width, height = piece_size(frame)
    n_pieces = -(-frame.imagewidth // width) * -(-frame.imagelength // height)
    parts = [decode_piece(path, page, number * n_pieces + index) for page, number in _planes_of(plane)]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    return found[0] if len(found) == 1 else np.concatenate(found, axis=2)


def _rows(path: Path, plane: _Plane, first: int, last: int) -> NDArray[Any]:
    parts = [read_rows(path, page, number, first, last) for page, number in _planes_of(plane)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)


def _survey_shift(path: Path, plane: _Plane) -> int:
    """Bits to drop from 16-bit samples, after the largest in up to 64 pieces of a level."""
    frame = plane.frame
    width, height = piece_size(frame)
    if has_plain_rows(frame):
        step = max(1, _ROWS_BYTES // (width * channels(frame) * 2))
        tops = _spread(range(0, frame.imagelength, step))
        highest = [_rows(path, plane, top, min(top + step, frame.imagelength)).max(initial=0) for top in tops]
    else:
        n_pieces = -(-frame.imagewidth // width) * -(-frame.imagelength // height)
        pieces = (_samples(path, plane, index) for index in _spread(range(n_pieces)))
        highest = [piece.max(initial=0) for piece in pieces if piece is not None]
    high = int(max(highest, default=0))
    return bits_to_drop(high, max(channels(frame), len(_planes_of(plane))))


def _spread(numbers: range) -> range:
    """At most 64 of the numbers, evenly."""
    return numbers[:: -(-len(numbers) // _SURVEY_PIECES)]
