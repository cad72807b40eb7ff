"""Outlines of objects along the edges of their pixels, as polygons that are valid by the rules of simple features.

Each 4-connected part of an object becomes one polygon. Where two of its own pixels touch at a corner only, the outline
turns towards what is not the object, so that it never meets the same point twice: what is enclosed becomes a hole that
touches the shell in a point, which the rules allow. So shells and holes are simple rings, the inside of each polygon
hangs together, and the polygons of one object meet in single points.

References
----------
OGC 06-103r4, "Simple feature access, part 1", 6.1.11 (polygons) and 6.1.14 (multi-polygons).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from frugalseg.arrays import UNKNOWN, LabelMap, Mask
from frugalseg.formats.annotated import present_labels

Ring = list[tuple[int, int]]
"""Corners (x, y), the first again at the end. Shells go round clockwise as seen (their area by the shoelace formula
is positive, since y points down), holes the other way."""

Outline = list[Ring]
"""A polygon: its shell, then its holes."""

_FOUR = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=bool)

_STEP = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
"""East, south, west, north as (dy, dx). The object lies on the right of every edge."""


def trace_objects(labels: LabelMap) -> Iterator[tuple[int, list[Outline]]]:
    """Every object's label with its polygons, by ascending label; what is not annotated is no object."""
    for label, (rows, columns) in object_boxes(labels):
        yield label, trace_mask(labels[rows, columns] == label, x=columns.start, y=rows.start)


def trace_unknown(labels: LabelMap) -> list[Outline]:
    """Polygons of what nobody annotated; none where all is."""
    unknown = labels == UNKNOWN
    return trace_mask(unknown) if unknown.any() else []


def object_boxes(labels: LabelMap) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Every object's label with its bounding box, by ascending label."""
    present = present_labels(labels)
    if present and present[-1] > 4 * len(present) + 65536:  # sparse numbers would make a long list of boxes
        compact = np.zeros_like(labels)
        inside = labels > 0
        compact[inside] = np.searchsorted(present, labels[inside]) + 1
        boxes = dict(zip(present, ndimage.find_objects(compact), strict=True))
    else:
        boxes = dict(enumerate(ndimage.find_objects(labels, max_label=present[-1] if present else 1), 1))
    for label in present:
        rows, columns = boxes[label]
        yield label, (rows, columns)


def trace_mask(mask: Mask, *, x: int = 0, y: int = 0) -> list[Outline]:
    """Polygons of one object, in the order of their first pixels; empty for an empty mask.

    Parameters
    ----------
    mask
        Its pixels, shape (H, W).
    x, y
        Where the mask lies in the image.
    """
    parts = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), dtype=np.int32)
    n_parts = int(ndimage.label(mask, structure=_FOUR, output=parts[1:-1, 1:-1]))
    if not n_parts:
        return []
    start, direction, part, following = _edges(parts)
    width = parts.shape[1] - 1
    corner_y, corner_x = np.divmod(start, width)
    xs, ys = (corner_x + x).tolist(), (corner_y + y).tolist()
    way, owner, step = direction.tolist(), part.tolist(), following.tolist()
    outlines: list[Outline] = [[] for _ in range(n_parts)]
    seen = bytearray(len(way))
    for first in range(len(way)):
        if seen[first]:
            continue
        ring: Ring = []
        edge, before = first, -1  # a ring begins at its highest, leftmost point, which is a corner
        while not seen[edge]:
            seen[edge] = 1
            if way[edge] != before:
                ring.append((xs[edge], ys[edge]))
                before = way[edge]
            edge = step[edge]
        ring.append(ring[0])
        outlines[owner[first] - 1].append(ring)
    return outlines


def _edges(parts: NDArray[np.int32]) -> tuple[NDArray[np.int64], ...]:
    """Directed pixel edges around all parts: starting corner, direction, part, and which edge comes next.

    Edges are ordered by corner (row by row), so that of each part the shell is met before its holes.
    """
    width = parts.shape[1] - 1
    inner = parts[1:-1, 1:-1]
    beside = (parts[:-2, 1:-1], parts[1:-1, 2:], parts[2:, 1:-1], parts[1:-1, :-2])
    starts, directions, owners = [], [], []
    for way, (across, corner) in enumerate(zip(beside, (0, 1, width + 1, width), strict=True)):
        row, column = np.nonzero((inner > 0) & (across != inner))
        starts.append(row * width + column + corner)
        directions.append(np.full(len(row), way))
        owners.append(inner[row, column])
    start, direction, owner = (np.concatenate(each).astype(np.int64) for each in (starts, directions, owners))
    names = start * 4 + direction  # unique: an edge and its direction have one pixel on the right
    order = np.argsort(names)
    start, direction, owner, names = start[order], direction[order], owner[order], names[order]
    end = start + _STEP[direction, 0] * width + _STEP[direction, 1]
    end_row, end_column = np.divmod(end, width)
    around = np.stack([parts[end_row + down, end_column + right] for down, right in ((0, 1), (1, 1), (1, 0), (0, 0))])
    every = np.arange(len(end))  # around: north-east, south-east, south-west, north-west of the edge's end
    left = around[direction, every] == owner
    ahead = around[(direction + 1) % 4, every] == owner
    turned = np.where(left, (direction + 3) % 4, np.where(ahead, direction, (direction + 1) % 4))
    return start, direction, owner, np.searchsorted(names, end * 4 + turned)
