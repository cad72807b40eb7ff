"""What files say of the size of a pixel; what no microscope can mean is refused, not used.

A size that is stated as such (Aperio's MPP, OME, OpenSlide) and impossible is an error: it would decide the level and
the scale of everything that follows. TIFF's resolution tags often are a printer's and say nothing then.
"""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from frugalseg.errors import InputError
from frugalseg.images.headers import MAX_PIXEL_UM, SQUARE_WITHIN, UNITS_UM


def stated(path: Path, source: str, across_um: float, down_um: float) -> float:
    """The size of a pixel in µm that a file states, checked.

    Parameters
    ----------
    source
        Where it is stated, for the message.

    Raises
    ------
    InputError
        Not positive, larger than 10 µm, or not square within 2 %.
    """
    if not all(math.isfinite(size) and 0 < size <= MAX_PIXEL_UM for size in (across_um, down_um)):
        raise InputError(
            path, f"says that its pixels are {across_um:g} x {down_um:g} µm ({source}), which no microscope gives"
        )
    if abs(across_um - down_um) > SQUARE_WITHIN * max(across_um, down_um):
        raise InputError(path, f"says that its pixels are {across_um:g} x {down_um:g} µm ({source}), not square")
    return float(f"{(across_um + down_um) / 2:.6g}")


def number(path: Path, source: str, text: str) -> float:
    """A number in a file's text.

    Raises
    ------
    InputError
        It is none.
    """
    try:
        return float(text)
    except ValueError:
        raise InputError(path, f"says {text[:40]!r} for the size of its pixels ({source})") from None


def tiff_pixel_size(path: Path, tiff: Any, page: Any) -> float | None:
    """Pixel size of a TIFF's first image: from OME or Aperio text where there is some, else from the resolution tags.

    Parameters
    ----------
    tiff, page
        The open ``tifffile.TiffFile`` and its first page.
    """
    if tiff.is_ome:
        return _ome(path, page.description)
    aperio = re.search(r"\|\s*MPP\s*=\s*([^|]*)", page.description or "")
    if aperio:
        size = number(path, "Aperio MPP", aperio[1].strip())
        return stated(path, "Aperio MPP", size, size)
    sizes = [_resolution(page.tags.get(code)) for code in (282, 283)]
    if tiff.is_imagej:
        unit = str((tiff.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "µ")
        factor = UNITS_UM.get(unit)
    else:
        factor = {2: 25400.0, 3: 1e4}.get(int(page.tags.valueof(296, 2)))
    if factor is None or sizes[0] is None or sizes[1] is None:
        return None
    across, down = sizes[0] * factor, sizes[1] * factor
    if min(across, down) > MAX_PIXEL_UM:
        return None
    return stated(path, "TIFF resolution", across, down)


def _resolution(tag: Any) -> float | None:
    """Length of a pixel in the resolution's unit."""
    value = None if tag is None else tag.value
    if not isinstance(value, tuple) or len(value) != 2 or not value[0] or not value[1]:
        return None
    return float(value[1]) / float(value[0])


def _ome(path: Path, text: str) -> float | None:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # OME needs neither, and entities can be made to explode
        raise InputError(path, "is damaged: its OME-XML defines entities")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise InputError(path, f"is damaged: its OME-XML makes no sense ({error})") from None
    pixels = next((element for element in root.iter() if element.tag.rpartition("}")[2] == "Pixels"), None)
    if pixels is None:
        return None
    sizes = []
    for axis in "XY":
        factor = UNITS_UM.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        value = pixels.get(f"PhysicalSize{axis}")
        if factor is None or value is None:
            return None
        sizes.append(number(path, "OME PhysicalSize", value) * factor)
    return stated(path, "OME PhysicalSize", *sizes)
