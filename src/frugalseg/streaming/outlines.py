"""Smooth outlines of objects, from pixels at the network's scale to polygons of the slide.

Every pixel edge between an object and what is not the object gives a point of the outline. It lies on the line between
the two pixels' centres, where the interpolated foreground crosses the threshold, or half-way where the object ends for
another reason. Points of following edges share a corner of four pixels, so this is marching squares with an object's
own pixels deciding what is inside (Lorensen & Cline 1987): rings cannot touch or cross. Points that the outline does
without within a quarter of a pixel are dropped, and what then is no valid polygon keeps all of its points.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from frugalseg.arrays import Mask
from frugalseg.formats.trace import Ring, trace_mask

TOLERANCE_PX = 0.25
"""How far an outline may be from the points found, at the network's scale."""

_NEAREST = 0.1
"""Points keep this part of a pixel away from pixel centres, so that rings stay apart when they are rounded."""

DECIMALS = 2


def outline(
    mask: Mask, front: NDArray[np.float32], threshold: float, *, left: int, top: int
) -> list[list[NDArray[np.float64]]]:
    """Rings of an object's polygons: shell first, then holes, points (x, y) in the view.

    Parameters
    ----------
    mask
        The object within its box, shape (H, W).
    front
        Foreground probability of the box and one pixel around it, shape (H + 2, W + 2).
    left, top
        Where the box lies.
    """
    padded = np.pad(mask, 1)
    corner = np.array([left, top])
    return [[_smooth(ring, padded, front, threshold) + corner for ring in part] for part in trace_mask(mask)]


def _smooth(ring: Ring, mask: Mask, front: NDArray[np.float32], threshold: float) -> NDArray[np.float64]:
    """The points of one ring of pixel edges, in the coordinates of the box; not closed."""
    corners = np.array(ring)
    steps = np.diff(corners, axis=0)
    lengths = np.abs(steps).sum(axis=1)
    ways = np.sign(steps)
    along = np.concatenate([np.arange(length) for length in lengths.tolist()])
    direction = np.repeat(ways, lengths, axis=0)
    starts = np.repeat(corners[:-1], lengths, axis=0) + along[:, None] * direction
    dx, dy = direction.T
    inner = starts + np.stack([np.minimum(dx, 0) - (dy == 1), np.minimum(dy, 0) - (dx == -1)], axis=1)
    out = np.stack([dy, -dx], axis=1)  # away from the object, which lies on the right
    one, other = inner + 1, inner + out + 1  # in the padded arrays
    here = front[one[:, 1], one[:, 0]].astype(np.float64)
    there = front[other[:, 1], other[:, 0]].astype(np.float64)
    crosses = (here > threshold) & (there <= threshold)
    share = np.where(crosses, (here - threshold) / np.where(crosses, here - there, 1), 0.5)
    points: NDArray[np.float64] = inner + 0.5 + np.clip(share, _NEAREST, 1 - _NEAREST)[:, None] * out
    return points


def polygons(
    outlines: Sequence[list[list[NDArray[np.float64]]]], steps: tuple[float, float], width: int, height: int
) -> NDArray[np.object_]:
    """One valid (multi)polygon of level 0 for each object, rounded to hundredths of a pixel.

    Parameters
    ----------
    outlines
        As :func:`outline` gives them.
    steps
        Level 0 pixels for one of the view, across and down.
    width, height
        Of level 0; outlines end there.
    """
    limit = np.array([width, height], dtype=np.float64)
    full = np.empty(len(outlines), dtype=object)
    for index, parts in enumerate(outlines):
        placed = [[np.minimum(ring * steps, limit) for ring in part] for part in parts]
        shapes = [shapely.Polygon(part[0], part[1:]) for part in placed]
        full[index] = shapes[0] if len(shapes) == 1 else shapely.MultiPolygon(shapes)
    if not len(full):
        return full
    simple = _rounded(shapely.simplify(full, TOLERANCE_PX * min(steps), preserve_topology=True))
    fine = shapely.is_valid(simple) & ~shapely.is_empty(simple)
    result = np.where(fine, simple, _rounded(full))
    worse = ~shapely.is_valid(result)
    result[worse] = shapely.make_valid(result[worse], method="structure")
    return np.asarray(shapely.orient_polygons(result), dtype=object)


def _rounded(shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    return np.asarray(shapely.transform(shapes, lambda points: np.round(points, DECIMALS)), dtype=object)
