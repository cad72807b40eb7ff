"""Which reader a file needs, and opening it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tifffile

from frugalseg.errors import ConfigError, InputError
from frugalseg.images.guard import MAX_PIXELS, sniff, system_reason
from frugalseg.slides.base import Slide
from frugalseg.slides.bounds import similar
from frugalseg.slides.faults import telling
from frugalseg.slides.process import ReaderProcess
from frugalseg.slides.zarr_metadata import is_ome_zarr

SCANNER_SUFFIXES = frozenset({".bif", ".czi", ".dcm", ".mrxs", ".ndpi", ".scn", ".svs", ".svslide", ".vms", ".vmu"})
"""Of formats that hold slides and nothing else."""

_MAX_PAGES = 16


def _tiff(path: Path) -> Slide:
    from frugalseg.slides.tiff import TiffSlide

    return TiffSlide(path)


def _openslide(path: Path) -> Slide:
    try:
        from frugalseg.slides.openslide import OpenSlideSlide
    except ImportError:
        raise ConfigError(str(path), "needs OpenSlide, which is not installed: pip install 'frugalseg[wsi]'") from None
    return OpenSlideSlide(path)


def _ome_zarr(path: Path) -> Slide:
    try:
        from frugalseg.slides.zarr import ZarrSlide
    except ImportError:
        raise ConfigError(str(path), "needs Zarr, which is not installed: pip install 'frugalseg[wsi]'") from None
    return ZarrSlide(path)


def _picture(path: Path) -> Slide:
    from frugalseg.images import read_header, read_image
    from frugalseg.slides.array import ArraySlide

    return ArraySlide(read_image(path), read_header(path).pixel_size_um, path=path)


READERS: dict[str, Callable[[Path], Slide]] = {
    "tiff": _tiff,
    "openslide": _openslide,
    "ome-zarr": _ome_zarr,
    "picture": _picture,
}
"""Every reader by name; each decodes in the process that calls it."""


def open_slide(path: Path, *, here: bool = False) -> Slide:
    """Open a slide; a context manager that closes it.

    Parameters
    ----------
    path
        A TIFF file, a file that OpenSlide reads, or the folder of an OME-Zarr picture. A PNG, JPEG or BMP file, too,
        which is decoded whole and has one level.
    here
        Decode in this process: no process to start, but a crash of a decoder is a crash of everything, and nothing
        limits memory and time. Else a reader process of the slide's own decodes, and pixels come through shared memory.

    Raises
    ------
    InputError
        It is no slide, is damaged, or says what cannot be; see ``docs/reference/slides.md``.
    ConfigError
        Its reader is not installed.
    """
    path = Path(path)
    if here:
        return READERS[reader_of(path)](path)
    return ReaderProcess().open(path, owned=True)


def is_slide(path: Path) -> bool:
    """Whether a path is to be read by rectangles rather than whole; cheap, and never an error.

    True for OME-Zarr folders, files with a scanner's suffix, and TIFF files with several levels, of a scanner, or too
    large to be read whole (512 Mi pixels).
    """
    path = Path(path)
    if path.is_dir():
        return is_ome_zarr(path)
    if path.suffix.lower() in SCANNER_SUFFIXES or not path.is_file():
        return path.is_file()
    with contextlib.suppress(InputError), telling(path):
        return sniff(path) == "tiff" and _is_slide_tiff(path)
    return False


def reader_of(path: Path) -> str:
    """Name of the reader in `READERS`, by what a file holds.

    Raises
    ------
    InputError
        There is no such file, or it is no slide.
    """
    if path.is_dir():
        if is_ome_zarr(path):
            return "ome-zarr"
        raise InputError(path, "is a folder without an OME-Zarr picture")
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(path, system_reason(error)) from error
    kind = None
    with contextlib.suppress(InputError):
        kind = sniff(path)
    if kind in ("png", "jpeg", "bmp"):
        return "picture"
    if _vendor(path) not in (None, "generic-tiff"):
        return "openslide"
    if kind == "tiff":
        return "tiff"
    if path.suffix.lower() in SCANNER_SUFFIXES:
        return "openslide"
    raise InputError(path, "is no image: neither TIFF, OME-Zarr, PNG, JPEG or BMP, nor a file that OpenSlide knows")


def _vendor(path: Path) -> str | None:
    """The maker of the scanner, where there is one."""
    try:
        import openslide
    except ImportError:
        with contextlib.suppress(InputError), telling(path), tifffile.TiffFile(path, _multifile=False) as tiff:
            return "a scanner" if _is_scanners(tiff) else None
        return None
    with telling(path):
        return openslide.OpenSlide.detect_format(path)


def _is_scanners(tiff: Any) -> bool:
    return bool(tiff.is_svs or tiff.is_ndpi or tiff.is_scn or tiff.is_bif or tiff.is_philips)


def _is_slide_tiff(path: Path) -> bool:
    with tifffile.TiffFile(path, _multifile=False) as tiff:
        first = tiff.pages.first
        if first.subifds or _is_scanners(tiff) or first.imagewidth * first.imagelength > MAX_PIXELS:
            return True
        for number in range(1, _MAX_PAGES):
            try:
                page = tiff.pages[number].aspage()
            except IndexError:
                return False
            if page.is_reduced and similar(first.imagewidth, first.imagelength, page.imagewidth, page.imagelength):
                return True
    return False
