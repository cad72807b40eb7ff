"""Polygons as pixels: a pixel belongs to a polygon if its centre lies inside.

Pixel (row, column) has its centre at x = column + 0.5, y = row + 0.5. A centre on an edge belongs to the polygon on its
right or below it, so that polygons that share an edge share no pixel. Each ring counts by the even-odd rule, and holes
are taken out of their shell: outlines that cross themselves have a meaning, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_COORDINATE = 1e9
"""Beyond this, coordinates are mistakes."""

MAX_CROSSINGS = 2**24
"""Most rows that the edges of one ring may cross, all together; a ring with more is no outline of anything."""

Spans = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Rows, first columns, and columns behind the last."""

_NONE: Spans = (np.zeros(0, np.int64),) * 3


class GeometryError(ValueError):
    """Coordinates that are no polygon; its text says why."""


@dataclass(frozen=True, eq=False)
class Polygon:
    """A polygon with its holes; each ring has the shape (n, 2), x before y, and need not be closed."""

    shell: NDArray[np.float64]
    holes: tuple[NDArray[np.float64], ...] = ()

    def spans(self, height: int, width: int) -> Spans:
        """The pixels inside, as runs of columns in rows; empty where there are none.

        Raises
        ------
        GeometryError
            A ring crosses too many rows.
        """
        spans = ring_spans(self.shell, height, width)
        for hole in self.holes:
            spans = _without(spans, ring_spans(hole, height, width))
        return spans

    def reaches_beyond(self, height: int, width: int) -> bool:
        """Whether some of it lies outside the image."""
        low, high = self.shell.min(axis=0), self.shell.max(axis=0)
        return bool(low.min() < 0 or high[0] > width or high[1] > height)


def make_ring(coordinates: Any) -> NDArray[np.float64]:
    """Check the corners of a ring, given as JSON gives them.

    Raises
    ------
    GeometryError
        Not a list of positions of two or three numbers, fewer than three, not finite, or too large.
    """
    if not isinstance(coordinates, list) or not coordinates:
        raise GeometryError("has a ring without positions")
    try:
        ring = np.array(coordinates)
    except (ValueError, OverflowError):
        ring = np.array(None)
    if ring.dtype.kind not in "iuf" or ring.ndim != 2 or ring.shape[1] not in (2, 3):
        raise GeometryError("has a ring that is no list of positions [x, y]")
    return check_ring(ring[:, :2].astype(np.float64))


def check_ring(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """The ring itself, if its numbers can be positions in an image; else a `GeometryError`."""
    if not np.isfinite(ring).all():
        raise GeometryError("has a coordinate that is not finite")
    if np.abs(ring).max(initial=0) > MAX_COORDINATE:
        raise GeometryError(f"has a coordinate beyond {MAX_COORDINATE:g}")
    if len(ring) < 3:
        raise GeometryError(f"has a ring of {len(ring)} positions, three are the least")
    return ring


def ring_spans(ring: NDArray[np.float64], height: int, width: int) -> Spans:
    """The pixels inside one ring, clipped to the image; see :meth:`Polygon.spans`."""
    after = np.roll(ring, -1, axis=0)
    down = ring[:, 1] <= after[:, 1]
    top, bottom = np.where(down[:, None], ring, after), np.where(down[:, None], after, ring)
    first = np.clip(np.ceil(top[:, 1] - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(bottom[:, 1] - 0.5), 0, height).astype(np.int64)
    counts = last - first
    total = int(counts.sum())
    if total > MAX_CROSSINGS:
        raise GeometryError(f"has a ring that crosses {total:,} rows, {MAX_CROSSINGS:,} are the most")
    if not total:
        return _NONE
    rows = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(total)
    slope = np.zeros(len(ring))
    np.divide(bottom[:, 0] - top[:, 0], bottom[:, 1] - top[:, 1], out=slope, where=counts > 0)
    crossing = np.repeat(top[:, 0], counts) + (rows + 0.5 - np.repeat(top[:, 1], counts)) * np.repeat(slope, counts)
    columns = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
    order = np.argsort(rows * (width + 1) + columns)
    rows, columns = rows[order][::2], columns[order]
    return _filled(rows, columns[::2], columns[1::2])  # each row is crossed an even number of times


def _filled(rows: NDArray[np.int64], starts: NDArray[np.int64], stops: NDArray[np.int64]) -> Spans:
    some = starts < stops
    return rows[some], starts[some], stops[some]


def _without(spans: Spans, taken: Spans) -> Spans:
    """Spans without what other spans cover; both are ordered, those of one kind do not overlap."""
    if not len(spans[0]) or not len(taken[0]):
        return spans
    rows = np.concatenate([spans[0], spans[0], taken[0], taken[0]])
    columns = np.concatenate([*spans[1:], *taken[1:]])
    of_spans, of_taken = len(spans[0]), len(taken[0])
    inside = np.repeat([1, -1, 0, 0], [of_spans, of_spans, of_taken, of_taken])
    hidden = np.repeat([0, 0, 1, -1], [of_spans, of_spans, of_taken, of_taken])
    order = np.lexsort((columns, rows))
    rows, columns = rows[order], columns[order]
    kept = (np.cumsum(inside[order]) > 0) & (np.cumsum(hidden[order]) == 0)
    here = np.flatnonzero(kept[:-1] & (rows[:-1] == rows[1:]))
    return _filled(rows[here], columns[here], columns[here + 1])


def fill(pixels: NDArray[Any], spans: Spans, value: int) -> int:
    """Set the spans of an array of shape (H, W) to a value; returns how many pixels they are."""
    rows, starts, stops = spans
    for row, start, stop in zip(rows.tolist(), starts.tolist(), stops.tolist(), strict=True):
        pixels[row, start:stop] = value
    return int((stops - starts).sum())


def crossing_polygons(polygons: Sequence[Polygon]) -> int:
    """How many polygons are invalid by the rules of simple features: outlines that cross themselves or their holes.

    Polygons of more than 10,000 positions are not looked at, since some would take hours.
    """
    import shapely

    found = 0
    for polygon in polygons:
        rings = (polygon.shell, *polygon.holes)
        if sum(map(len, rings)) <= 10_000:
            found += not shapely.is_valid(shapely.Polygon(polygon.shell, polygon.holes))
    return found
