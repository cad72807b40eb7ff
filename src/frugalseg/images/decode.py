"""Pixels: decoded as the file holds them, and turned into 8-bit RGB."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as Pillow

from frugalseg.arrays import Image
from frugalseg.errors import InputError
from frugalseg.images.guard import system_reason
from frugalseg.images.headers import DAMAGE, Header, first_line, open_pillow, read_header, tiff_shape

_NOT_RGB = {5: "CMYK", 8: "CIELAB", 9: "ICCLAB", 10: "ITULAB"}
"""Photometric numbers of TIFF whose samples are other colours; YCbCr (6) is decoded to RGB with JPEG alone."""

_WHITE_IS_ZERO, _PALETTE, _YCBCR, _JPEG = 0, 3, 6, (6, 7)
_GREY_OR_RGB = (0, 1, 2)
_UNSPECIFIED, _ASSOCIATED = 0, 1
"""What the samples beyond the colours of a TIFF are; 2 is transparency as PNG has it."""

_COLOUR_MODES = {"CMYK", "YCbCr", "LAB", "HSV", "RGBX"}
"""Modes of Pillow whose samples are not grey, RGB or RGBA."""

BEYOND_ONE = 2
"""Floating-point images of 0-1 may go a little beyond, where they were filtered; those of 0-255 are brighter."""


def read_image(path: Path) -> Image:
    """Read a PNG, JPEG, BMP or TIFF file as 8-bit RGB.

    Parameters
    ----------
    path
        The file; its content, not its suffix, says what it is.

    Returns
    -------
    Image
        Shape (H, W, 3), turned as its EXIF orientation says.

    Raises
    ------
    InputError
        The file is no image, is damaged, too large, a stack, or has values that mean nothing as colours.

    Notes
    -----
    Grey becomes three equal channels, palettes their colours, transparency is laid over white; a TIFF's fourth channel
    is left out where the file does not say that it is transparency, or where it would hide all. Samples of 16 bits are
    shifted right by what :func:`bits_to_drop` says. Floating point must lie in 0-1 (then it is multiplied
    by 255; where the largest sample is below 2, what is above 1 is cut off) or in 0-255. Samples of fewer than 8 bits
    are stretched to 0-255.
    """
    path = Path(path)
    return to_rgb(decode(path, colours=True)[0], path)


def decode(path: Path, *, colours: bool) -> tuple[NDArray[Any], Header]:
    """Decode a file: shape (H, W) or (H, W, 2…4), samples as stored, turned by its orientation.

    Parameters
    ----------
    path
        The file.
    colours
        Look palettes up and invert white-is-zero (an image); else give the stored indices (a mask).

    Raises
    ------
    InputError
        As :func:`frugalseg.images.headers.read_header`, or the pixels cannot be decoded.
    """
    header = read_header(path)
    try:
        if header.container == "tiff":
            samples = _decode_tiff(path, colours=colours)
        elif header.container == "png" and header.bits == 16 and header.channels > 1:
            samples = np.asarray(imagecodecs.png_decode(path.read_bytes()))
        else:
            with open_pillow(path, header.container) as image:
                samples = _pillow_samples(image, colours=colours)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(path, f"does not fit into memory ({header.width} x {header.height})") from error
    except OSError as error:
        reason = f"is damaged: {first_line(error)}" if error.errno is None else system_reason(error)
        raise InputError(path, reason) from error
    except DAMAGE as error:
        raise InputError(path, f"is damaged: {first_line(error)}") from error
    turned = orient(samples, header.orientation)
    if turned.shape[:2] != (header.height, header.width):
        raise InputError(path, f"is damaged: {turned.shape[1]} x {turned.shape[0]} pixels, unlike its header")
    return turned, header


def without_other_samples(samples: NDArray[Any], extra: Sequence[int]) -> NDArray[Any]:
    """Samples (…, 2 or 4) of a TIFF without a last one that is no transparency of the usual kind.

    Colours that were multiplied by their transparency are laid over white here.
    """
    kind = extra[-1] if extra else _UNSPECIFIED
    if kind == _ASSOCIATED and samples.dtype.kind == "u":
        white = np.iinfo(samples.dtype).max
        over = samples[..., :-1].astype(np.uint32) + (white - samples[..., -1:])
        laid: NDArray[Any] = np.minimum(over, white).astype(samples.dtype)
        return laid
    idle = kind == _UNSPECIFIED or not samples[..., -1].any()  # transparent everywhere: it means something else
    result: NDArray[Any] = samples[..., :-1] if idle and samples.shape[-1] == 4 else samples
    return result


def orient(samples: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn pixels as an EXIF orientation (1-8) says."""
    flipped = {2: 0, 4: 2, 5: 1, 7: 3}  # mirror, then quarter turns; the others only turn
    turns = {1: 0, 3: 2, 6: 3, 8: 1}
    if orientation in flipped:
        return np.rot90(samples[:, ::-1], flipped[orientation])
    return np.rot90(samples, turns[orientation])


def to_rgb(samples: NDArray[Any], path: Path) -> Image:
    """Bring samples of shape (H, W) or (H, W, 1…4) to 8-bit RGB, by the rules of :func:`read_image`."""
    scaled = to_uint8(samples if samples.ndim == 3 else samples[..., None], path)
    if scaled.shape[2] in (2, 4):
        scaled = _over_white(scaled)
    if scaled.shape[2] == 1:
        scaled = np.repeat(scaled, 3, axis=2)
    return np.ascontiguousarray(scaled)


def to_uint8(samples: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    """Scale samples of any kind to 0-255, by the rules of :func:`read_image`."""
    if samples.dtype == np.uint8:
        return samples
    if samples.dtype == np.bool_:
        return samples.astype(np.uint8) * np.uint8(255)
    low, high = samples.min(), samples.max()
    if samples.dtype.kind == "f":
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError(path, "holds pixels that are not numbers (NaN or infinite)")
        if low < 0 or high > 255:
            raise InputError(
                path, f"holds floating-point values from {low:g} to {high:g}, only 0-1 or 0-255 can be read"
            )
        if high < BEYOND_ONE:
            samples = np.minimum(samples, 1.0) * 255.0
        rounded: NDArray[np.uint8] = np.rint(samples).astype(np.uint8)
        return rounded
    if samples.dtype.kind not in "ui":
        raise InputError(path, f"holds samples of type {samples.dtype}, which are no grey values or colours")
    if low < 0 or high > 65535:
        raise InputError(path, f"holds values from {low} to {high}, only 8 and 16 bits can be read")
    if samples.ndim == 3 and samples.shape[2] in (2, 4):  # transparency may use all bits where colours do not
        return np.concatenate([_shifted(samples[..., :-1]), _shifted(samples[..., -1:])], axis=2)
    return _shifted(samples)


def _shifted(samples: NDArray[Any]) -> NDArray[np.uint8]:
    n_channels = samples.shape[2] if samples.ndim == 3 else 1
    shifted: NDArray[np.uint8] = (samples >> bits_to_drop(int(samples.max()), n_channels)).astype(np.uint8)
    return shifted


def bits_to_drop(high: int, n_channels: int) -> int:
    """By how much 16-bit samples are shifted right, after the largest of them.

    Cameras fill 8, 12 or 16 bits; colours, in which something is always bright, 10 or 14 as well.
    """
    depths = (8, 10, 12, 14, 16) if n_channels >= 3 else (8, 12, 16)
    return next(depth for depth in depths if high < 1 << depth) - 8


def _over_white(samples: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay colours with a transparency channel (the last) over white."""
    alpha = samples[..., -1:].astype(np.uint16)
    blended = samples[..., :-1] * alpha + 255 * (255 - alpha)
    return ((blended + 127) // 255).astype(np.uint8)


def _pillow_samples(image: Pillow.Image, *, colours: bool) -> NDArray[Any]:
    if not colours:
        return _label_samples(image)
    if "transparency" in image.info and not image.mode.startswith("I"):  # 16 bits would be cut off
        image = image.convert("RGBA")
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.mode == "PA" else "RGB")
    elif image.mode in _COLOUR_MODES:
        image = image.convert("RGB")
    return np.array(image)


def _label_samples(image: Pillow.Image) -> NDArray[Any]:
    """Indices of a palette, except where the palette is white, black: then the colours say what is background."""
    samples = np.array(image)
    if image.mode == "P":
        palette = image.getpalette() or []
        if palette[:6] == [255, 255, 255, 0, 0, 0] and samples.max(initial=0) <= 1:
            return (1 - samples).astype(np.uint8)
    return samples


def _decode_tiff(path: Path, *, colours: bool) -> NDArray[Any]:
    with tifffile.TiffFile(path) as tiff:
        page, series = tiff.pages[0].aspage(), tiff.series[0]
        height, width, channels = tiff_shape(path, series)
        samples: NDArray[Any] = series.asarray(maxworkers=1)
        leading = next((i for i, axis in enumerate(series.axes) if axis in "CS" and series.shape[i] == channels), None)
        if channels > 1 and leading is not None:
            samples = np.moveaxis(samples, leading, -1)
        samples = samples.reshape((height, width, channels) if channels > 1 else (height, width))
        photometric = int(page.photometric)
        extra = [int(kind) for kind in page.extrasamples]
        palette = page.colormap if photometric == _PALETTE else None
        bits, compression = page.bitspersample, int(page.compression)
    if channels == 2 and not extra:
        raise InputError(path, "has 2 channels, only grey, RGB and RGBA can be read")
    if not colours:
        return samples
    if palette is not None:
        return np.moveaxis(np.asarray(palette)[:, samples], 0, -1) // 257
    if photometric == _YCBCR and compression not in _JPEG:
        raise InputError(path, "is a YCbCr TIFF without JPEG compression, save it as RGB")
    if photometric in _NOT_RGB:
        raise InputError(path, f"is a {_NOT_RGB[photometric]} TIFF, save it as RGB")
    if channels in (2, 4) and photometric in _GREY_OR_RGB:
        samples = without_other_samples(samples, extra)
    if samples.dtype.kind in "bu":
        top = (1 << bits) - 1 if samples.dtype.kind == "u" else True
        if photometric == _WHITE_IS_ZERO:
            samples = np.bitwise_xor(samples, samples.dtype.type(top))
        if samples.dtype == np.uint8 and top < 255:
            samples = samples * np.uint8(255 // top)
    return samples
