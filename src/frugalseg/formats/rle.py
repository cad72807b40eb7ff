"""COCO's run lengths: pixels counted down the columns, background and object in turn; plain, or packed into text.

References
----------
COCO's data format, cocodataset.org/#format-data; the packed text is that of its own API (maskApi).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frugalseg.arrays import Mask
from frugalseg.formats.raster import GeometryError, Spans

MAX_TEXT = 2**26


def encode_box(mask: Mask, x: int, y: int, height: int) -> list[int]:
    """Run lengths of an object without the last run of background.

    Parameters
    ----------
    mask
        The object in its bounding box, not empty.
    x, y
        Where the box lies.
    height
        Of the whole image.
    """
    edges = []
    width = max(1, 2**22 // mask.shape[0])
    for first in range(0, mask.shape[1], width):  # few columns at a time: all would take many times the mask's memory
        columns = np.zeros((len(mask.T[first : first + width]), mask.shape[0] + 2), dtype=np.int8)
        columns[:, 1:-1] = mask.T[first : first + width]
        column, row = np.nonzero(np.diff(columns, axis=1))  # where runs begin and end, in turn
        edges.append((column.astype(np.int64) + first + x) * height + row + y)
    places = np.concatenate(edges)
    joined = np.flatnonzero(places[1:-1:2] == places[2::2]) * 2 + 1  # a run to the column's end goes on in the next one
    kept = np.delete(places, np.concatenate([joined, joined + 1]))
    return list(map(int, np.diff(kept, prepend=0)))


def close(counts: list[int], size: int) -> list[int]:
    """Run lengths with the last run, so that they add up to `size` pixels."""
    rest = size - sum(counts)
    return [*counts, rest] if rest else counts


def pack(counts: Sequence[int]) -> str:
    """Run lengths as text: from the fourth on the difference to the last but one, five bits a character."""
    letters = bytearray()
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        while True:
            bits = value & 0x1F
            value >>= 5
            more = value != (-1 if bits & 0x10 else 0)
            letters.append((bits | 0x20 if more else bits) + 48)
            if not more:
                break
    return letters.decode("ascii")


def unpack(text: str) -> list[int]:
    """The run lengths that :func:`pack` made into text.

    Raises
    ------
    GeometryError
        Characters that cannot be in it, or an end in the middle.
    """
    if len(text) > MAX_TEXT:
        raise GeometryError("has run lengths of more than 64 MiB")
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            raise GeometryError("has run lengths that cannot be unpacked")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise GeometryError("has run lengths that end in the middle")
    return counts


def to_spans(counts: Any, height: int, width: int) -> Spans:
    """Runs of the object down the columns: columns, first rows, rows behind the last.

    Raises
    ------
    GeometryError
        Not numbers from 0, or they do not add up to the image's pixels.
    """
    if isinstance(counts, str):
        counts = unpack(counts)
    if not isinstance(counts, list) or not all(type(count) is int and 0 <= count <= height * width for count in counts):
        raise GeometryError("has run lengths that are no list of numbers from 0 to the image's size")
    if sum(counts) != height * width:
        raise GeometryError(f"has run lengths of {sum(counts):,} pixels in all, its image has {height * width:,}")
    edges = np.cumsum(np.array(counts, dtype=np.int64))
    starts, stops = edges[0::2][: len(edges) // 2], edges[1::2]
    some = starts < stops
    return _by_column(starts[some], stops[some], height)


def _by_column(starts: NDArray[np.int64], stops: NDArray[np.int64], height: int) -> Spans:
    """Cut runs where one column ends and the next begins."""
    first, last = starts // height, (stops - 1) // height
    counts = last - first + 1
    total = int(counts.sum())
    columns = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(total)
    low = np.maximum(np.repeat(starts, counts) - columns * height, 0)
    high = np.minimum(np.repeat(stops, counts) - columns * height, height)
    return columns, low, high
