"""Headers: size, kind and pixel size of an image file, read without decoding a pixel."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import struct
import threading
import warnings
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from frugalseg.errors import InputError
from frugalseg.images.guard import MAX_DEFLATE_RATIO, check_complete, check_size, sniff, system_reason

MAX_PIXEL_UM = 10.0
"""A pixel larger than this is a print resolution (300 dpi is 85 µm), not what a microscope says."""

SQUARE_WITHIN = 0.02
"""Sides of a pixel may differ by this share."""

UNITS_UM = {
    "µm": 1.0,
    "μm": 1.0,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "pm": 1e-6,
    "picometer": 1e-6,
    "Å": 1e-4,
    "angstrom": 1e-4,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "mm": 1e3,
    "millimeter": 1e3,
    "cm": 1e4,
    "centimeter": 1e4,
    "in": 25400.0,
    "inch": 25400.0,
    "m": 1e6,
    "meter": 1e6,
}
"""Micrometres of the units that OME-XML, OME-Zarr and ImageJ name; any other is no length that we know."""

DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What decoders raise on damaged files."""

_MODE_BITS = {"1": 1, "I;16": 16, "I;16B": 16, "I;16L": 16, "I": 32, "F": 32}
_ORIENTATION = 274
_pillow_lock = threading.Lock()

# tifffile logs what it also raises; without this, a damaged file would give two lines where nobody configured logging.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Header:
    """What a file's header says.

    Height and width are those of the picture as shown, after the orientation is applied; `kind` is the numpy kind of
    the samples (``b`` bits, ``u`` unsigned, ``i`` signed, ``f`` floating) and `bits` their width in the file.
    """

    path: Path
    container: str
    height: int
    width: int
    channels: int
    kind: str
    bits: int
    orientation: int
    pixel_size_um: float | None


def read_header(path: Path) -> Header:
    """Header of an image or mask, checked: not too large, not cut off.

    Raises
    ------
    InputError
        The file cannot be opened, is no image, is truncated, or promises more than can be decoded.
    """
    container = sniff(path)
    try:
        return _tiff_header(path) if container == "tiff" else _pillow_header(path, container)
    except InputError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise InputError(path, system_reason(error)) from error
        raise InputError(path, f"is damaged: {first_line(error)}") from error
    except DAMAGE as error:
        raise InputError(path, f"is damaged: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """An exception's message in one line, or its name."""
    if isinstance(error, UnidentifiedImageError):  # its text is the path, which we name ourselves
        return "its header makes no sense"
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


@contextlib.contextmanager
def open_pillow(path: Path, container: str) -> Iterator[Pillow.Image]:
    """Open a file by Pillow as the kind it is. Pillow's own limit is lifted: `check_size` is stricter and ours."""
    with _pillow_lock:
        limit, Pillow.MAX_IMAGE_PIXELS = Pillow.MAX_IMAGE_PIXELS, None
        try:
            image = Pillow.open(path, formats=[container])
        finally:
            Pillow.MAX_IMAGE_PIXELS = limit
    with image:
        yield image


def _pillow_header(path: Path, container: str) -> Header:
    with open_pillow(path, container) as image:
        width, height = image.size
        channels = len(image.getbands())
        bits = _MODE_BITS.get(image.mode, 8)
        if container == "png" and bits != 1:
            bits = max(8, _png_depth(path))
        n_bytes = height * max(1, width * channels * bits // 8)
        check_size(path, height, width, n_bytes=n_bytes)
        # Palette and grey PNGs may pack several pixels into a byte: count the least that the file must hold.
        least = height * max(1, width * channels * _png_depth(path) // 8) if container == "png" else n_bytes
        check_complete(path, container, n_bytes=least)
        orientation = _pillow_orientation(image)
        pixel_size = _from_dpi(image.info.get("dpi"))
    if orientation >= 5:
        width, height = height, width
    kind = {"1": "b", "F": "f", "I": "i"}.get(image.mode, "u")
    return Header(path, container, height, width, channels, kind, bits, orientation, pixel_size)


def _png_depth(path: Path) -> int:
    """Bits of a sample, byte 24 of every PNG file (Pillow shows 16-bit colour as 8-bit)."""
    with path.open("rb") as stream:
        return stream.read(25)[24]


def _pillow_orientation(image: Pillow.Image) -> int:
    # PNG: Pillow would decode the whole picture to look for EXIF behind it, so only EXIF before the pixels counts.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # EXIF that is damaged says nothing about the pixels
            value = int(image.getexif().get(_ORIENTATION, 1))
    except DAMAGE:
        return 1
    return value if 1 <= value <= 8 else 1


def _from_dpi(dpi: Any) -> float | None:
    """Pixel size from (x, y) dots per inch."""
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError):
        return None
    return _trusted(25400 / across, 25400 / down) if across > 0 and down > 0 else None


def _trusted(across_um: float, down_um: float) -> float | None:
    """The size of square pixels that a microscope can have, else None."""
    if not (
        math.isfinite(across_um)
        and 0 < across_um <= MAX_PIXEL_UM
        and math.isclose(across_um, down_um, rel_tol=SQUARE_WITHIN)
    ):
        return None
    return float(f"{(across_um + down_um) / 2:.6g}")


_GREY = (0, 1)
"""Photometric interpretations of TIFF: white is zero, black is zero."""


def _tiff_header(path: Path) -> Header:
    with tifffile.TiffFile(path) as tiff:
        if not len(tiff.pages):
            raise InputError(path, "is damaged: a TIFF file without an image")
        page = tiff.pages[0].aspage()
        series = tiff.series[0]
        height, width, channels = tiff_shape(path, series)
        if channels == 4 and int(page.photometric) in _GREY:
            raise InputError(path, "has 4 channels of grey values, only grey, RGB and RGBA can be read")
        dtype = np.dtype(series.dtype)
        check_size(path, height, width, n_bytes=height * width * channels * dtype.itemsize)
        if math.prod(page.chunks) > 4 * height * width * channels + 2**22:
            raise InputError(path, f"is damaged: tiles of {page.chunks} samples in an image of {width} x {height}")
        _check_strips(path, series.pages, height * width * channels * int(page.bitspersample) // 8)
        orientation = _tag(page, _ORIENTATION)
        orientation = orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1
        pixel_size = _tiff_pixel_size(tiff, page)
        bits = int(page.bitspersample)
    if orientation >= 5:
        width, height = height, width
    return Header(path, "tiff", height, width, channels, dtype.kind, bits, int(orientation), pixel_size)


def tiff_shape(path: Path, series: Any) -> tuple[int, int, int]:
    """Height, width and channels of a TIFF's first image.

    Raises
    ------
    InputError
        It is a stack of pages, or has a number of channels that is no picture.
    """
    sizes = {axis: int(size) for axis, size in zip(series.axes, series.shape, strict=True) if size != 1 or axis in "YX"}
    height, width = sizes.pop("Y", 0), sizes.pop("X", 0)
    channels = sizes.pop("S", 1) * sizes.pop("C", 1)
    if sizes:
        raise InputError(
            path, f"is a stack (axes {series.axes}, shape {tuple(series.shape)}), one image a file is needed"
        )
    if channels not in (1, 2, 3, 4):
        raise InputError(path, f"has {channels} channels, only grey, RGB and RGBA can be read")
    return height, width, channels


def _check_strips(path: Path, pages: Any, n_bytes: int) -> None:
    """Refuse pixels that lie outside the file, or that are far too few for the size promised."""
    size = path.stat().st_size
    stored, compression = 0, 1
    for page in pages:
        if page is None:
            raise InputError(path, "is truncated")
        page = page.aspage()
        compression = int(page.compression)
        stored += sum(page.databytecounts)
        if any(offset + count > size for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)):
            raise InputError(path, "is truncated")
    if compression == 1 and stored < n_bytes:
        raise InputError(path, "is truncated")
    if compression in (5, 8, 32773, 32946) and n_bytes > 2 * MAX_DEFLATE_RATIO * stored + 2**16:  # LZW: up to 1:1366
        raise InputError(path, f"cannot hold the {n_bytes:,} bytes of pixels that its header promises ({size:,} bytes)")


def _tag(page: Any, code: int) -> Any:
    tag = page.tags.get(code)
    return None if tag is None else tag.value


def _tiff_pixel_size(tiff: Any, page: Any) -> float | None:
    """From OME, Aperio or ImageJ text where there is some, else from the resolution tags."""
    description = page.description or ""
    if tiff.is_ome and tiff.ome_metadata:
        return _ome_pixel_size(tiff.ome_metadata)
    aperio = re.search(r"\|\s*MPP\s*=\s*([0-9.]+)", description)
    if aperio:
        return _trusted(float(aperio[1]), float(aperio[1]))
    resolution = [_ratio(_tag(page, code)) for code in (282, 283)]
    if not all(resolution):
        return None
    across, down = (1 / value for value in resolution)
    if tiff.is_imagej:
        unit = str((tiff.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "µ")
        factor = UNITS_UM.get(unit)
    else:
        factor = {2: 25400.0, 3: 1e4}.get(int(_tag(page, 296) or 2))
    return None if factor is None else _trusted(across * factor, down * factor)


def _ratio(value: Any) -> float:
    """A TIFF rational as a number; 0 where it is missing or has no value."""
    if not isinstance(value, tuple) or len(value) != 2 or not value[1]:
        return 0.0
    return float(value[0]) / float(value[1])


def _ome_pixel_size(text: str) -> float | None:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # OME needs neither, and entities can be made to explode
        return None
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
    pixels = next((element for element in root.iter() if element.tag.endswith("}Pixels")), None)
    if pixels is None:
        return None
    sizes = []
    for axis in "XY":
        factor = UNITS_UM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        value = pixels.get(f"PhysicalSize{axis}")
        if factor is None or value is None:
            return None
        sizes.append(float(value) * factor)
    return _trusted(*sizes)
