"""Tiles and strips of a TIFF file, decoded one at a time after their compressed bytes have been judged.

A tile's bytes are a file of their own: a JPEG in a tile of 256 pixels may claim 65,500, and deflated zeros grow a
thousandfold. What the bytes promise is compared with the tile first.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frugalseg.errors import InputError
from frugalseg.images.decode import to_rgb, without_other_samples
from frugalseg.images.guard import MAX_DEFLATE_RATIO

MAX_PIECE_BYTES = 256 * 2**20
"""Largest decoded tile or strip."""

NONE, LZW, JPEG, PACKBITS = 1, 5, 7, 32773
_DEFLATE = (8, 32946)
_JPEG_2000 = (33003, 33005, 34712)
COMPRESSIONS = (NONE, LZW, JPEG, PACKBITS, *_DEFLATE, *_JPEG_2000, 34925, 50000)
"""That are read: also LZMA and Zstandard, whose decoders stop at the size they are given."""

WHITE_IS_ZERO, PALETTE, YCBCR = 0, 3, 6


def check_layout(path: Path, page: Any) -> None:
    """Refuse a page that cannot be read piece by piece: kinds of samples, compressions, pieces that are not there.

    Parameters
    ----------
    page
        A ``tifffile.TiffPage``.

    Raises
    ------
    InputError
        Naming what is wrong.
    """
    if page.dtype is None or np.dtype(page.dtype) not in (np.uint8, np.uint16) or page.bitspersample not in (8, 16):
        raise InputError(path, f"holds samples of {page.bitspersample} bits ({page.dtype}), only 8 and 16 can be read")
    if page.compression not in COMPRESSIONS:
        raise InputError(path, f"is compressed by a method that is not read (TIFF compression {int(page.compression)})")
    readable = (WHITE_IS_ZERO, 1, 2, PALETTE, *([YCBCR] if page.compression == JPEG else []))
    if page.photometric not in readable:
        raise InputError(path, f"holds colours that are not read (TIFF photometric {int(page.photometric)})")
    if not 1 <= page.samplesperpixel <= 4 or (page.samplesperpixel == 2 and not page.extrasamples):
        raise InputError(path, f"has {page.samplesperpixel} channels, only grey, RGB and RGBA can be read")
    if page.imagedepth != 1 or page.tags.valueof(274, 1) not in (0, 1):
        raise InputError(path, "is a volume or turned (TIFF depth or orientation), which is not read")
    _check_pieces(path, page)


def _check_pieces(path: Path, page: Any) -> None:
    width, height = piece_size(page)
    if not has_plain_rows(page):  # these are read one by one
        promised = width * height * channels(page) * np.dtype(page.dtype).itemsize
        if promised > MAX_PIECE_BYTES:
            limit = MAX_PIECE_BYTES / 2**20
            raise InputError(
                path, f"has tiles or strips of {width} x {height} pixels, larger than {limit:.0f} MiB when decoded"
            )
    across, down = math.ceil(page.imagewidth / width), math.ceil(page.imagelength / height)
    needed = across * down * (page.samplesperpixel if page.planarconfig == 2 else 1)
    found = min(len(page.dataoffsets), len(page.databytecounts))
    if found < needed:
        raise InputError(path, f"is damaged: {needed} tiles or strips are needed, it tells of {found}")
    ends = np.asarray(page.dataoffsets, dtype=np.uint64) + np.asarray(page.databytecounts, dtype=np.uint64)
    if int(ends.max(initial=0)) > page.parent.filehandle.size:
        raise InputError(path, "is truncated")


def piece_size(page: Any) -> tuple[int, int]:
    """Width and height of a tile, or of a strip, in pixels."""
    if page.is_tiled:
        return int(page.tilewidth), int(page.tilelength)
    return int(page.imagewidth), int(min(page.rowsperstrip, page.imagelength))


def has_plain_rows(page: Any) -> bool:
    """Whether rows lie in the file as they are, so that a strip need not be read whole."""
    return not page.is_tiled and page.compression == NONE and page.predictor == 1 and page.fillorder == 1


def channels(page: Any) -> int:
    """Samples that a piece holds for a pixel."""
    return 1 if page.planarconfig == 2 else int(page.samplesperpixel)


def decode_piece(path: Path, page: Any, index: int) -> NDArray[Any] | None:
    """Samples (height, width, channels) of a tile or strip, which may be smaller at the edges; None if it is empty.

    Raises
    ------
    InputError
        Its bytes promise more than the tile holds.
    """
    offset, size = page.dataoffsets[index], page.databytecounts[index]
    if not size or not offset:
        return None
    handle = page.parent.filehandle
    handle.seek(offset)
    content = handle.read(size)
    if len(content) < size:
        raise InputError(path, "is truncated")
    _check_promise(path, page.keyframe, content)
    samples, _, _ = page.keyframe.decode(content, index, jpegtables=page.jpegtables)
    piece: NDArray[Any] = samples[0]
    return piece


def read_rows(path: Path, page: Any, plane: int, first: int, last: int) -> NDArray[Any]:
    """Rows first…last-1 of an uncompressed page in strips, shape (rows, width, channels)."""
    frame = page.keyframe
    dtype = np.dtype(frame.parent.byteorder + np.dtype(frame.dtype).char)
    row_bytes = frame.imagewidth * channels(frame) * dtype.itemsize
    _, height = piece_size(frame)
    per_plane = math.ceil(frame.imagelength / height)
    handle = frame.parent.filehandle
    rows = []
    while first < last:
        index, inside = plane * per_plane + first // height, first % height
        n = min(last - first, height - inside)
        if not page.databytecounts[index] or not page.dataoffsets[index]:  # as a tile that is not stored: white
            white = 0 if frame.photometric == WHITE_IS_ZERO else np.iinfo(dtype).max
            rows.append(np.full((n, frame.imagewidth, channels(frame)), white, dtype))
            first += n
            continue
        if (inside + n) * row_bytes > page.databytecounts[index]:
            raise InputError(path, "is truncated")
        handle.seek(page.dataoffsets[index] + inside * row_bytes)
        content = np.frombuffer(handle.read(n * row_bytes), dtype=dtype)
        rows.append(content.reshape(n, frame.imagewidth, channels(frame)))
        first += n
    return np.concatenate(rows).astype(dtype.newbyteorder("="), copy=False)


def to_colours(path: Path, page: Any, samples: NDArray[Any], shift: int) -> NDArray[np.uint8]:
    """8-bit RGB (height, width, 3) of samples (height, width, channels).

    Parameters
    ----------
    shift
        Bits to drop from 16-bit samples; what then exceeds 255 becomes 255.
    """
    if page.photometric == PALETTE:
        return np.ascontiguousarray(np.moveaxis(np.asarray(page.colormap)[:, samples[..., 0]], 0, -1) // 257, np.uint8)
    if samples.shape[2] in (2, 4) and page.photometric in (0, 1, 2):
        samples = without_other_samples(samples, [int(kind) for kind in page.extrasamples])
    if samples.dtype != np.uint8:
        samples = np.minimum(samples >> shift, 255).astype(np.uint8)
    return to_rgb(~samples if page.photometric == WHITE_IS_ZERO else samples, path)


def _check_promise(path: Path, page: Any, content: bytes) -> None:
    """Refuse compressed bytes that would become more than a tile of this page, or cannot become one."""
    width, height = piece_size(page)
    promised = width * height * channels(page) * np.dtype(page.dtype).itemsize
    # LZW: up to 1:1366
    if page.compression in (LZW, *_DEFLATE) and promised > 2 * MAX_DEFLATE_RATIO * len(content) + 2**16:
        raise InputError(path, f"is damaged: {len(content)} bytes cannot hold a tile of {promised:,} bytes")
    claimed = None
    if page.compression == JPEG:
        claimed = _jpeg_size(content)
    elif page.compression in _JPEG_2000:
        claimed = _jpeg_2000_size(content)
    if claimed is not None and (claimed[0] > width or claimed[1] > height):
        raise InputError(
            path, f"is damaged: a tile of {width} x {height} pixels says it has {claimed[0]} x {claimed[1]}"
        )


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Largest width and height that a frame header tells; None where there is none."""
    found = None
    position = 2
    while position + 9 <= len(content):
        mark, kind, length = struct.unpack_from(">BBH", content, position)
        if mark != 0xFF or kind == 0xDA:
            break
        if kind == 0xFF:
            position += 1
            continue
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", content, position + 5)
            found = (max(width, found[0] if found else 0), max(height, found[1] if found else 0))
        position += 2 if 0xD0 <= kind <= 0xD8 else 2 + length
    return found


def _jpeg_2000_size(content: bytes) -> tuple[int, int] | None:
    """Width and height of a code stream, raw or in a JP2 file."""
    at = content.find(b"\xff\x4f\xff\x51")
    if at < 0 or at + 24 > len(content):
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", content, at + 8)
    return max(right - left, 0), max(bottom - top, 0)
