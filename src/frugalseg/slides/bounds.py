"""What may be read at once, and which part of it the image covers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from frugalseg.errors import InputError
from frugalseg.slides.base import Level, Slide

MAX_REGION_PIXELS = 64 * 10**6
"""Largest rectangle that one read gives (192 MB of pixels)."""

MAX_SIDE = 2**20
"""Longest side of a slide in pixels; at 0.25 µm a pixel it is 26 cm, more than any glass."""

Box = tuple[slice, slice]


def check_region(slide: Slide, level: int, width: int, height: int) -> None:
    """Refuse a rectangle that is no rectangle, or too large for one read.

    Raises
    ------
    ValueError
        No such level, or a negative size: the caller's mistake.
    InputError
        More than `MAX_REGION_PIXELS`.
    """
    if not 0 <= level < len(slide.levels):
        raise ValueError(f"level {level} of a slide with {len(slide.levels)}")
    if width < 0 or height < 0:
        raise ValueError(f"a region of {width} x {height} pixels")
    if width * height > MAX_REGION_PIXELS:
        limit = MAX_REGION_PIXELS // 10**6
        raise InputError(slide.path, f"a region of {width} x {height} pixels was asked for, {limit} megapixels at most")


def overlap(level: Level, x: int, y: int, width: int, height: int) -> tuple[Box, Box] | None:
    """Where image and rectangle meet: rows and columns of the image, and of the rectangle; None if nowhere."""
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + width, level.width), min(y + height, level.height)
    if left >= right or top >= bottom:
        return None
    return (slice(top, bottom), slice(left, right)), (slice(top - y, bottom - y), slice(left - x, right - x))


def checked_levels(path: Path, sizes: Sequence[tuple[int, int]]) -> tuple[Level, ...]:
    """Levels of (width, height), finest first, whose downsamples follow from the sizes.

    Raises
    ------
    InputError
        No pixels, a side beyond `MAX_SIDE`, a level larger than the one before, or of another shape than level 0.
    """
    width, height = sizes[0]
    levels: list[Level] = []
    for number, (across, down) in enumerate(sizes):
        if across < 1 or down < 1:
            raise InputError(path, f"level {number} has no pixels ({across} x {down})")
        if max(across, down) > MAX_SIDE:
            raise InputError(path, f"level {number} is too large: {across} x {down} pixels, limit {MAX_SIDE:,} a side")
        if levels and (across > levels[-1].width or down > levels[-1].height):
            last = levels[-1]
            raise InputError(
                path,
                f"level {number} ({across} x {down}) is larger than level {number - 1} ({last.width} x {last.height})",
            )
        if not similar(width, height, across, down):
            raise InputError(
                path, f"level {number} ({across} x {down}) is of another shape than level 0 ({width} x {height})"
            )
        levels.append(Level(across, down, (width / across + height / down) / 2 if number else 1.0))
    return tuple(levels)


def similar(width: int, height: int, across: int, down: int) -> bool:
    """Whether an image of `across` x `down` pixels can be one of `width` x `height` at another resolution.

    Both sides shrink by the same factor, within 2 % and the rounding of a pixel and a half.
    """
    factor_across, factor_down = width / across, height / down
    slack = 0.02 + 1.5 / min(across, down)
    return abs(factor_across - factor_down) <= slack * max(factor_across, factor_down)
