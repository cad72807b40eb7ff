"""Label maps and pictures in and out of files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as Pillow

from frugalseg.arrays import UNKNOWN, Image, LabelMap
from frugalseg.atomic import atomic_path
from frugalseg.errors import InputError
from frugalseg.images.decode import decode
from frugalseg.images.headers import Header, read_header
from frugalseg.images.objects import is_binary, split_components

_log = logging.getLogger(__name__)


def check_label_header(header: Header) -> None:
    """Refuse, by its header, a file that cannot hold labels.

    Raises
    ------
    InputError
        The samples are floating point, or the file is a JPEG.
    """
    if header.kind in "fc":
        raise InputError(header.path, f"holds floating-point labels ({header.bits}-bit), integers are needed")
    if header.container == "jpeg":
        raise InputError(header.path, "is a JPEG, which changes label values: masks must be PNG, BMP or TIFF")


def read_stored_labels(path: Path, *, ignore_value: int | None = None) -> LabelMap:
    """Labels as the file holds them; `ignore_value` becomes ``UNKNOWN``.

    Raises
    ------
    InputError
        Not a readable file, floating-point or negative labels, a colour picture, or labels beyond 31 bits.
    """
    path = Path(path)
    check_label_header(read_header(path))
    samples, _ = decode(path, colours=False)
    stored = _single_channel(samples, path)
    if stored.dtype == np.bool_:
        stored = stored.astype(np.uint8)
    unknown = None if ignore_value is None else stored == ignore_value
    known = stored if unknown is None else np.where(unknown, 0, stored)
    low, high = int(known.min()), int(known.max())
    if low < 0:
        hint = "; if it means not annotated, pass --ignore-value" if ignore_value is None else ""
        raise InputError(path, f"holds negative labels (lowest {low}){hint}")
    if high > np.iinfo(np.int32).max:
        raise InputError(path, f"holds the label {high}, the largest possible is {np.iinfo(np.int32).max}")
    labels = known.astype(np.int32)
    if unknown is not None:
        labels[unknown] = UNKNOWN
    return labels


def read_label_map(path: Path, *, ignore_value: int | None = None, split_binary: bool = True) -> LabelMap:
    """Read the objects of one image.

    Parameters
    ----------
    path
        PNG, BMP or TIFF: integers, palette indices, or black and white in RGB.
    ignore_value
        Value that means "not annotated"; these pixels become ``UNKNOWN`` (-1).
    split_binary
        A mask of one value only (255, or in several pieces) becomes one object for each 8-connected component, with
        a warning in the log; False leaves it.

    Returns
    -------
    LabelMap
        Shape (H, W), int32: 0 background, 1… objects (not necessarily consecutive), ``UNKNOWN``.

    Raises
    ------
    InputError
        As :func:`read_stored_labels`.
    """
    labels = read_stored_labels(path, ignore_value=ignore_value)
    if split_binary and is_binary(labels):
        labels, origin = split_components(labels)
        _log.warning(
            "%s: one label for all objects; its %d connected components are taken as objects", path, len(origin)
        )
    return labels


def _single_channel(samples: NDArray[Any], path: Path) -> NDArray[Any]:
    """Labels must be grey: of RGB(A) with three equal channels the first is taken."""
    if samples.ndim == 2:
        return samples
    if samples.shape[2] >= 3 and not all(np.array_equal(samples[..., 0], samples[..., i]) for i in (1, 2)):
        raise InputError(path, "is a colour image, not a label map")
    return samples[..., 0]


def write_label_map(path: Path, labels: NDArray[Any]) -> None:
    """Write objects as uint16, or uint32 where a label needs it, atomically.

    Parameters
    ----------
    path
        ``.png`` (labels up to 65,535) or ``.tif``/``.tiff`` (zlib-compressed).
    labels
        Integers from 0, shape (H, W).

    Raises
    ------
    InputError
        Another suffix, or a label that a PNG cannot hold.
    ValueError
        Not two-dimensional, not integers, or negative.
    """
    path = Path(path)
    if labels.ndim != 2 or labels.dtype.kind not in "bui":
        raise ValueError(f"labels must be integers of shape (H, W), not {labels.dtype} of shape {labels.shape}")
    if labels.size and int(labels.min()) < 0:
        raise ValueError("labels must not be negative")
    top = int(labels.max(initial=0))
    if top > np.iinfo(np.uint32).max:
        raise InputError(path, f"cannot hold the label {top}, the largest possible is {np.iinfo(np.uint32).max}")
    stored = labels.astype(np.uint16 if top <= 65535 else np.uint32)
    suffix = path.suffix.lower()
    if suffix not in (".png", ".tif", ".tiff"):
        raise InputError(path, "label maps are written as .png, .tif or .tiff")
    if suffix == ".png" and stored.dtype != np.uint16:
        raise InputError(path, f"a PNG file cannot hold the label {top} (at most 65535); write a .tif")
    with atomic_path(path) as temporary:
        if suffix == ".png":
            Pillow.fromarray(stored).save(temporary, format="PNG")
        else:
            tifffile.imwrite(temporary, stored, compression="zlib", photometric="minisblack")


def write_image(path: Path, image: Image, *, pixel_size_um: float | None = None) -> None:
    """Write an 8-bit picture, shape (H, W, 3) or (H, W), as PNG, atomically; with its pixel size where given.

    Raises
    ------
    InputError
        The suffix is not ``.png``.
    ValueError
        Not uint8.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(path, "pictures are written as .png")
    if image.dtype != np.uint8:
        raise ValueError(f"a picture must be uint8, not {image.dtype}")
    resolution = {} if pixel_size_um is None else {"dpi": (25400 / pixel_size_um,) * 2}
    with atomic_path(path) as temporary:
        Pillow.fromarray(np.ascontiguousarray(image)).save(temporary, format="PNG", **resolution)
