"""Large images as windows, each of which can be annotated for itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from frugalseg.images.samples import Sample

SIDE_PX = 512


def cut_windows(samples: Sequence[Sample], side_px: int = SIDE_PX) -> list[Sample]:
    """Windows of `side_px` that cover each image evenly; an image of at most 1.5 times that stays whole.

    Neighbours overlap where an image's side is not a multiple of the window's.

    Parameters
    ----------
    samples
        With known sizes, as :func:`frugalseg.images.open_dataset` gives them.
    side_px
        Width and height of a window, in the image's pixels.

    Returns
    -------
    Samples named after their image and their corner; masks, if any, go along.
    """
    if side_px < 1:
        raise ValueError(f"a window's side must be at least 1, not {side_px}")
    result = []
    for sample in samples:
        height, width = sample.size
        if sample.window is not None or max(height, width) <= 1.5 * side_px:
            result.append(sample)
            continue
        window_height, window_width = min(side_px, height), min(side_px, width)
        for y in _starts(height, window_height):
            for x in _starts(width, window_width):
                window = (x, y, window_width, window_height)
                result.append(dataclasses.replace(sample, name=f"{sample.name}_x{x}_y{y}", window=window))
    return result


def _starts(size: int, side: int) -> list[int]:
    """Evenly spaced starts of the fewest windows that cover `size`."""
    n = -(-size // side)
    return [round(index * (size - side) / max(1, n - 1)) for index in range(n)]
