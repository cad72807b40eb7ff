"""What can be known of a file without decoding it: its kind, and whether all of it is there.

Each container has its own cheap sign of a cut-off file: PNG its chain of chunks, JPEG the end marker, BMP the size in
its header, TIFF the place of its strips (checked in :mod:`frugalseg.images.headers`, which has parsed them).
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import BinaryIO

from frugalseg.errors import InputError

MAX_PIXELS = 512 * 2**20
"""Largest image that is decoded; a header asking for more is refused."""

MAX_BYTES = 8 * MAX_PIXELS
"""Largest decoded size, all channels together."""

MAX_DEFLATE_RATIO = 1032
"""Deflate cannot shrink further than this (zlib's technical details), so a header promising more lies."""

_MAX_RATIO = {"png": MAX_DEFLATE_RATIO, "jpeg": 4 * 8 * 64}
"""Decoded bytes a stored byte can stand for; a JPEG needs at least a bit for 64 pixels of up to 4 channels."""

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"BM", "bmp"),
)


def sniff(path: Path) -> str:
    """Kind of a file by its first bytes: ``png``, ``jpeg``, ``bmp`` or ``tiff``.

    Raises
    ------
    InputError
        The file cannot be opened, is empty, or is none of these.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
    except OSError as error:
        raise InputError(path, system_reason(error)) from error
    if not start:
        raise InputError(path, "is empty (0 bytes)")
    for magic, container in _MAGIC:
        if start.startswith(magic):
            return container
    raise InputError(path, "is not a PNG, JPEG, BMP or TIFF file")


def system_reason(error: OSError) -> str:
    """Why the system refuses a file, in lower case, without number or name."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"cannot be read ({reason[0].lower()}{reason[1:]})"


def check_size(path: Path, height: int, width: int, *, n_bytes: int) -> None:
    """Refuse what is empty, or too large to decode.

    Raises
    ------
    InputError
        No pixels, more than `MAX_PIXELS`, or more than `MAX_BYTES` when decoded.
    """
    if height < 1 or width < 1:
        raise InputError(path, f"has no pixels ({width} x {height})")
    if height * width > MAX_PIXELS:
        megapixels, limit = height * width / 1e6, MAX_PIXELS / 1e6
        raise InputError(path, f"is too large: {width} x {height} = {megapixels:,.0f} megapixels, limit {limit:,.0f}")
    if n_bytes > MAX_BYTES:
        raise InputError(path, f"is too large: {n_bytes / 1e9:.1f} GB when decoded, limit {MAX_BYTES / 1e9:.1f} GB")


def check_complete(path: Path, container: str, *, n_bytes: int) -> None:
    """Refuse a PNG, JPEG or BMP file that ends too early, without decoding it.

    Parameters
    ----------
    path
        The file, whose header has been read.
    container
        As :func:`sniff` says.
    n_bytes
        Size of the decoded pixels as its header promises.

    Raises
    ------
    InputError
        The file is cut off, or too small to hold what its header promises.
    """
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        complete = {"png": _png_is_complete, "jpeg": _jpeg_is_complete, "bmp": _bmp_is_complete}[container]
        if not complete(stream, size):
            raise InputError(path, "is truncated")
    if n_bytes > _MAX_RATIO.get(container, n_bytes) * size:
        raise InputError(path, f"cannot hold the {n_bytes:,} bytes of pixels that its header promises ({size:,} bytes)")


def _png_is_complete(stream: BinaryIO, size: int) -> bool:
    """Whether the chain of chunks leads to IEND within the file."""
    position = 8
    while position + 12 <= size:
        stream.seek(position)
        length, kind = struct.unpack(">I4s", stream.read(8))
        position += 12 + length
        if kind == b"IEND":
            return bool(position <= size)
    return False


def _jpeg_is_complete(stream: BinaryIO, size: int) -> bool:
    """Whether an end marker follows the first scan (in compressed data, ff d9 can be nothing else)."""
    position = 2
    while position + 4 <= size:
        stream.seek(position)
        mark, kind, length = struct.unpack(">BBH", stream.read(4))
        if mark != 0xFF:
            return False
        if kind == 0xFF:  # a fill byte before the marker
            position += 1
            continue
        position += 2 + length
        if kind == 0xDA:
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return content.rfind(b"\xff\xd9", position) >= 0
    return False


def _bmp_is_complete(stream: BinaryIO, size: int) -> bool:
    """Whether the rows fit behind the offset; run-length compression says its size in the header."""
    stream.seek(10)
    offset, header = struct.unpack("<II", stream.read(8))
    if header == 12:  # OS/2: 16-bit sizes, never compressed
        width, height, _, bits = struct.unpack("<HHHH", stream.read(8))
        compression, n_bytes = 0, 0
    else:
        width, height, _, bits, compression, n_bytes = struct.unpack("<iiHHII", stream.read(20))
    if compression in (0, 3):
        n_bytes = (width * bits + 31) // 32 * 4 * abs(height)
    return bool(offset + n_bytes <= size)
