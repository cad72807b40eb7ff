"""Cut a padded image into tiles with a halo, and put the tiles' results together, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Tile:
    """One tile of a padded image, as slices into it.

    ``read`` is the region to give to the network, ``write`` the part of the image that the result is kept for, and
    ``keep`` that part inside the result.
    """

    read: tuple[slice, slice]
    write: tuple[slice, slice]
    keep: tuple[slice, slice]


def padded_size(height: int, width: int, stride: int) -> tuple[int, int]:
    """The image's size, each side rounded up to a multiple of `stride`."""
    return height + -height % stride, width + -width % stride


def pad(image: NDArray[Scalar], stride: int) -> NDArray[Scalar]:
    """Pad (H, W, …) to the right and below by repeating the last pixel, to multiples of `stride`."""
    height, width = image.shape[:2]
    full_height, full_width = padded_size(height, width, stride)
    if (full_height, full_width) == (height, width):
        return image
    return np.pad(
        image, ((0, full_height - height), (0, full_width - width)) + ((0, 0),) * (image.ndim - 2), mode="edge"
    )


def tiles(height: int, width: int, *, core_px: int, halo_px: int, stride: int) -> Iterator[Tile]:
    """Tiles that cover a padded image of (`height`, `width`) exactly once, row by row.

    Origins and sizes are multiples of the stride, so that the network's grid falls on the same pixels in a tile as in
    the whole image: with a halo of at least the network's receptive field the result is that of the whole image.

    Parameters
    ----------
    height, width
        Size in pixels, multiples of `stride`.
    core_px
        Side of the part that is kept; rounded up to the stride.
    halo_px
        Context read around it on every side, cut at the image's edge; rounded up to the stride.
    """
    if height % stride or width % stride:
        raise ValueError(f"image of {width}x{height} is not padded to multiples of {stride}")
    core = core_px + -core_px % stride
    halo = halo_px + -halo_px % stride
    for top in range(0, height, core):
        for left in range(0, width, core):
            spans = [_span(top, core, halo, height), _span(left, core, halo, width)]
            (read_y, write_y, keep_y), (read_x, write_x, keep_x) = spans
            yield Tile((read_y, read_x), (write_y, write_x), (keep_y, keep_x))


def _span(start: int, core: int, halo: int, size: int) -> tuple[slice, slice, slice]:
    """What to read, to write, and to keep of the reading, along one axis."""
    end = min(start + core, size)
    first, last = max(start - halo, 0), min(end + halo, size)
    return slice(first, last), slice(start, end), slice(start - first, end - first)
