"""OME-Zarr 0.4 and 0.5 as slides, through Zarr. Extra ``wsi``."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore

from frugalseg.arrays import Image
from frugalseg.errors import InputError
from frugalseg.images.decode import bits_to_drop, to_rgb
from frugalseg.slides.base import Level, Slide
from frugalseg.slides.bounds import check_region, checked_levels, overlap
from frugalseg.slides.faults import telling
from frugalseg.slides.zarr_chunks import ChunkRule, GuardedStore
from frugalseg.slides.zarr_metadata import StoredArray, read_multiscale

_BAND_BYTES = 64 * 2**20
_SURVEY_SIDE = 2048


class ZarrSlide(Slide):
    """A folder with an OME-Zarr picture as a slide, decoded in this process.

    Raises
    ------
    InputError
        The folder holds no such picture, or one that is damaged or not read.

    Notes
    -----
    The first picture, its first time and depth; three channels are red, green and blue, one is grey. 16-bit samples
    become 8-bit by one shift for the whole slide, after the largest sample of the coarsest level (its middle 2048 x
    2048). Chunks that are not stored have the arrays' fill value.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._shift: int | None = None
        with telling(path):
            self._picture = picture = read_multiscale(path)
            sizes = [dict(zip(picture.axes, array.shape, strict=True)) for array in picture.arrays]
            if any(size.get("c", 1) not in (1, 3) or size.get("c", 1) != sizes[0].get("c", 1) for size in sizes):
                counts = ", ".join(str(size.get("c", 1)) for size in sizes)
                raise InputError(path, f"has {counts} channels, only 1 (grey) and 3 (RGB) can be read")
            self._levels = checked_levels(path, [(size["x"], size["y"]) for size in sizes])
            self._arrays: list[Any] = [
                zarr.open_array(_guarded(path, array), mode="r", zarr_format=picture.format)  # type: ignore[arg-type]
                for array in picture.arrays
            ]

    @property
    def path(self) -> Path:
        """The folder."""
        return self._path

    @property
    def levels(self) -> tuple[Level, ...]:
        """Finest first."""
        return self._levels

    @property
    def pixel_size_um(self) -> float | None:
        """From the scales, where the axes have a unit of length."""
        return self._picture.pixel_size_um

    def read_region(self, level: int, x: int, y: int, width: int, height: int) -> Image:
        """Pixels of a rectangle; see :meth:`Slide.read_region`."""
        check_region(self, level, width, height)
        region = np.full((height, width, 3), 255, dtype=np.uint8)
        inside = overlap(self._levels[level], x, y, width, height)
        if inside is None:
            return region
        (rows, columns), (to_rows, to_columns) = inside
        with self._lock, telling(self._path):
            for top in range(rows.start, rows.stop, self._band(level, columns)):
                band = slice(top, min(top + self._band(level, columns), rows.stop))
                samples = self._samples(level, band, columns)
                first = to_rows.start + top - rows.start
                region[first : first + len(samples), to_columns] = self._colours(samples)
        return region

    def close(self) -> None:
        """Forget the arrays; Zarr keeps no file open."""
        self._arrays = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def _band(self, level: int, columns: slice) -> int:
        """Rows read at once: whole chunks, of about 64 MiB."""
        chunk = self._picture.arrays[level].chunks[self._picture.axes.index("y")]
        row_bytes = (columns.stop - columns.start) * 3 * int(self._arrays[level].dtype.itemsize)
        return int(max(1, _BAND_BYTES // (row_bytes * chunk)) * chunk)

    def _samples(self, level: int, rows: slice, columns: slice) -> NDArray[Any]:
        """Samples (height, width, channels) of the first time and depth."""
        place: dict[str, slice | int] = {"t": 0, "z": 0, "c": slice(None), "y": rows, "x": columns}
        axes = self._picture.axes
        samples = np.asarray(self._arrays[level][tuple(place[axis] for axis in axes)])
        kept = [axis for axis in axes if axis in "cyx"]
        if "c" not in kept:
            samples, kept = samples[..., None], [*kept, "c"]
        return samples.transpose([kept.index(axis) for axis in "yxc"])

    def _colours(self, samples: NDArray[Any]) -> Image:
        if samples.dtype.itemsize == 1:
            return to_rgb(samples.astype(np.uint8, copy=False), self._path)
        if self._shift is None:
            size = self._levels[-1]
            corner = [max(0, (side - _SURVEY_SIDE) // 2) for side in (size.height, size.width)]
            middle = [slice(at, at + _SURVEY_SIDE) for at in corner]
            middle = [slice(s.start, min(s.stop, n)) for s, n in zip(middle, (size.height, size.width), strict=True)]
            high = int(self._samples(len(self._levels) - 1, *middle).max(initial=0))
            self._shift = bits_to_drop(high, samples.shape[2])
        return to_rgb(np.minimum(samples >> self._shift, 255).astype(np.uint8), self._path)


def _guarded(folder: Path, array: StoredArray) -> GuardedStore:
    rule = ChunkRule(array.compressor, array.chunk_bytes, array.is_sharded)
    return GuardedStore(LocalStore(folder / array.name, read_only=True), rule)
