"""Exact Hausdorff distances between the objects of two label maps, computed on few of their pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_N_DIRECTIONS = 8  # of the projections that bound distances from below; more make tighter bounds
_MAX_TREE_QUERIES = 4000  # above this many inner pixels one distance transform is faster than the tree


class Outlines:
    """Outline pixels of the objects of one map, and what is derived from them.

    The outline of an object are its pixels with one of the four neighbours outside it. The pixel of an object nearest
    to a point outside lies on it: from an inner pixel, one step towards the point stays in the object.
    """

    def __init__(self, ids: NDArray[np.int32], n: int) -> None:
        self.ids, self.n = ids, n
        padded = np.pad(ids, 1)
        inner = np.ones(ids.shape, dtype=np.bool_)
        for neighbour in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
            inner &= neighbour == ids
        points = np.argwhere((ids > 0) & ~inner)
        owner = ids[points[:, 0], points[:, 1]]
        order = np.argsort(owner, kind="stable")
        self.points = points[order]
        self.start = np.searchsorted(owner[order], np.arange(1, n + 2))
        self._trees: dict[int, Any] = {}
        self._depths: dict[int, Floats] = {}

    @cached_property
    def low(self) -> Indices:
        """First row and column of each object, shape (n, 2)."""
        return np.minimum.reduceat(self.points, self.start[:-1], axis=0)

    @cached_property
    def high(self) -> Indices:
        """Row and column after the last of each object, shape (n, 2)."""
        return np.maximum.reduceat(self.points, self.start[:-1], axis=0) + 1

    @cached_property
    def supports(self) -> Floats:
        """How far each object reaches in evenly spread directions and their opposites, shape (n, 2 * directions)."""
        angles = np.arange(_N_DIRECTIONS) * np.pi / _N_DIRECTIONS
        along = self.points @ np.stack([np.sin(angles), np.cos(angles)])
        reach = [np.maximum.reduceat(along, self.start[:-1]), np.minimum.reduceat(along, self.start[:-1])]
        return np.concatenate(reach, axis=1)

    def outline(self, index: int) -> Indices:
        """Outline pixels of one object, shape (k, 2)."""
        return self.points[self.start[index] : self.start[index + 1]]

    def distances(self, index: int, points: Indices) -> Floats:
        """Distance of points outside one object to it."""
        if index not in self._trees:
            self._trees[index] = cKDTree(self.outline(index), compact_nodes=False, balanced_tree=False)
        return np.asarray(self._trees[index].query(points)[0])

    def depths(self, index: int) -> Floats:
        """Distance to one object of all pixels in its bounding box."""
        if index not in self._depths:
            (top, left), (bottom, right) = self.low[index], self.high[index]
            outside = self.ids[top:bottom, left:right] != index + 1
            self._depths[index] = np.asarray(ndimage.distance_transform_edt(outside), dtype=np.float64)
        return self._depths[index]


def _directed(a: Outlines, i: int, b: Outlines, j: int) -> float:
    """max over the pixels of object i of a of the distance to object j of b.

    It is attained on the outline of i or within the bounding box of j: from an inner pixel of i beyond that box, one
    step straight away from it stays in i and is farther from every pixel of j. (Within the box it may be anywhere:
    think of i filling the mouth of a C.)
    """
    outline = a.outline(i)
    outline = outline[b.ids[outline[:, 0], outline[:, 1]] != j + 1]
    farthest = float(b.distances(j, outline).max()) if len(outline) else 0.0
    top, left = np.maximum(a.low[i], b.low[j])
    bottom, right = np.minimum(a.high[i], b.high[j])
    if top >= bottom or left >= right:
        return farthest
    window = np.s_[top:bottom, left:right]
    inside = (a.ids[window] == i + 1) & (b.ids[window] != j + 1)
    if np.count_nonzero(inside) > _MAX_TREE_QUERIES:
        shift_row, shift_column = b.low[j]
        depths = b.depths(j)[top - shift_row : bottom - shift_row, left - shift_column : right - shift_column]
        return max(farthest, float(depths[inside].max()))
    points = np.argwhere(inside) + np.array([top, left])
    return max(farthest, float(b.distances(j, points).max())) if len(points) else farthest


@dataclass(eq=False)
class Distances:
    """Hausdorff distances between the objects of two maps, each computed at most once."""

    pred: Outlines
    truth: Outlines
    n_nearest: int = 0
    n_diagonal: int = 0
    known: dict[tuple[int, int], float] = field(default_factory=dict)

    def between(self, i: int, j: int) -> float:
        """H of predicted object i and true object j."""
        if (i, j) not in self.known:
            self.known[i, j] = max(_directed(self.pred, i, self.truth, j), _directed(self.truth, j, self.pred, i))
        return self.known[i, j]

    def from_pred(self, partners: Indices) -> Floats:
        """The distance that counts for each predicted object."""
        return self._one_side(self.pred, self.truth, partners, flipped=False)

    def from_truth(self, partners: Indices) -> Floats:
        """The distance that counts for each true object."""
        return self._one_side(self.truth, self.pred, partners, flipped=True)

    def _one_side(self, own: Outlines, other: Outlines, partners: Indices, *, flipped: bool) -> Floats:
        if not other.n:
            self.n_diagonal += own.n
            return np.full(own.n, math.hypot(*own.ids.shape))
        found = np.empty(own.n)
        for index, partner in enumerate(partners.tolist()):
            if partner >= 0:
                found[index] = self.between(partner, index) if flipped else self.between(index, partner)
            else:
                self.n_nearest += 1
                found[index] = self._nearest(own, other, index, flipped)
        return found

    def _nearest(self, own: Outlines, other: Outlines, index: int, flipped: bool) -> float:
        """Smallest H to an object of the other map.

        For every direction u, H(A, B) ≥ |max_a u·a - max_b u·b|; candidates are tried in the order of this bound until
        it passes the best distance found.
        """
        bounds = np.abs(other.supports - own.supports[index]).max(axis=1)
        best = math.inf
        for candidate in np.argsort(bounds, kind="stable").tolist():
            if bounds[candidate] >= best:
                break
            best = min(best, self.between(candidate, index) if flipped else self.between(index, candidate))
        return best
