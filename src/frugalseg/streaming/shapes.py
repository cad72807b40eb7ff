"""Measurements of objects, in pixels of level 0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from frugalseg.arrays import Mask
from frugalseg.streaming.stitch import Integers

SHAPES = (
    "centroid_x_px",
    "centroid_y_px",
    "area_px",
    "perimeter_px",
    "major_axis_px",
    "minor_axis_px",
    "eccentricity",
    "orientation_deg",
    "circularity",
    "solidity",
)
"""Columns of :func:`shapes_of`."""


def shapes_of(
    boxes: Integers, masks: Sequence[Mask], polygons: NDArray[np.object_], steps: tuple[float, float]
) -> NDArray[np.float64]:
    """Measurements of objects, shape (n, len(SHAPES)).

    Centroid, area and axes are those of the pixels, each a square; the axes are the full ones of the ellipse with the
    same second moments, the orientation that of the long one, in degrees from the x axis towards the y axis, -90 to 90.
    Perimeter, circularity (4 pi area / perimeter², 1 for a disc) and solidity (share of the convex hull) are those of
    the outline. The first pixel's centre is at 0.5.
    """
    result = np.empty((len(boxes), len(SHAPES)))
    across, down = steps
    for index, (box, mask) in enumerate(zip(boxes.tolist(), masks, strict=True)):
        ys, xs = np.nonzero(mask)
        x, y = (xs + (box[0] + 0.5)) * across, (ys + (box[1] + 0.5)) * down
        centre_x, centre_y = x.mean(), y.mean()
        xx = ((x - centre_x) ** 2).mean() + across**2 / 12
        yy = ((y - centre_y) ** 2).mean() + down**2 / 12
        xy = ((x - centre_x) * (y - centre_y)).mean()
        spread = np.hypot(xx - yy, 2 * xy)
        major = 4 * np.sqrt((xx + yy + spread) / 2)
        minor = 4 * np.sqrt(max((xx + yy - spread) / 2, 0))
        result[index, :3] = centre_x, centre_y, len(xs) * across * down
        result[index, 4:8] = (
            major,
            minor,
            np.sqrt(1 - (minor / major) ** 2),
            np.degrees(np.arctan2(2 * xy, xx - yy)) / 2,
        )
    area, length = shapely.area(polygons), shapely.length(polygons)
    result[:, 3] = length
    result[:, 8] = np.minimum(4 * np.pi * area / length**2, 1)
    result[:, 9] = area / shapely.area(shapely.convex_hull(polygons))
    return result
