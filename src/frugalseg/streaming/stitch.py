"""Foreground components of a whole slide from those of its tiles, exactly; too large ones are cut on a fixed grid.

Components are 8-connected. Each tile's own are joined across seams where pixels on either side touch, corners of four
tiles included; what is joined is found at once, as the connected components of a graph. Where the box of a joined
component is longer than the limit, its joints on the cutting grid's lines are taken away, and only there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from frugalseg.arrays import Mask
from frugalseg.instances import EIGHT
from frugalseg.streaming.plan import Rect, SlidePlan, Tile

Integers = NDArray[np.int64]


class Parts(NamedTuple):
    """Components of one tile: what joining them needs to know.

    Attributes
    ----------
    boxes
        Left, top, right, bottom in the view, shape (n, 4).
    first
        First pixel in reading order, as x and y in the view, shape (n, 2).
    top, bottom, left, right
        Labels 1…n, or 0, along the tile's sides.
    """

    boxes: Integers
    first: Integers
    top: Integers
    bottom: Integers
    left: Integers
    right: Integers


@dataclass(frozen=True)
class Components:
    """Components of a slide, in reading order of their first pixels.

    Attributes
    ----------
    boxes
        Left, top, right, bottom, shape (n, 4).
    first
        First pixel, as x and y, shape (n, 2).
    pieces
        Whether each is a piece of one that was cut.
    cut
        Boxes of those that were cut, shape (m, 4).
    """

    boxes: Integers
    first: Integers
    pieces: NDArray[np.bool_]
    cut: Integers


def parts_of(mask: Mask, core: Rect) -> Parts:
    """Components of a tile's foreground."""
    labels, n = ndimage.label(mask, EIGHT)
    boxes = np.empty((n, 4), dtype=np.int64)
    first = np.empty((n, 2), dtype=np.int64)
    for index, (rows, columns) in enumerate(ndimage.find_objects(labels)):
        boxes[index] = columns.start, rows.start, columns.stop, rows.stop
        start = columns.start + int(np.argmax(labels[rows.start, columns] == index + 1))
        first[index] = start, rows.start
    boxes += [core.left, core.top, core.left, core.top]
    first += [core.left, core.top]
    sides = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    return Parts(boxes, first, *(np.array(side, dtype=np.int64) for side in sides))


def join(plan: SlidePlan, parts: Iterable[tuple[Tile, Parts]]) -> Components:
    """Components of the slide from those of its tiles, given in reading order."""
    offsets: dict[Tile, int] = {}
    boxes, first, n = [], [], 0
    sides: dict[Tile, Parts] = {}
    for tile, found in parts:
        offsets[tile] = n
        n += len(found.boxes)
        boxes.append(found.boxes)
        first.append(found.first)
        sides[tile] = found
    if not n:
        nothing = np.zeros((0, 4), dtype=np.int64)
        return Components(nothing, nothing[:, :2], np.zeros(0, dtype=bool), nothing)
    every_box, every_first = np.concatenate(boxes), np.concatenate(first)
    joints = _joints(plan, sides, offsets)
    whole = _groups(n, joints)
    whole_boxes = _boxes(every_box, whole)
    large = np.maximum(whole_boxes[:, 2] - whole_boxes[:, 0], whole_boxes[:, 3] - whole_boxes[:, 1]) > plan.longest_px
    kept = joints[~((joints[:, 2] > 0) & large[whole[joints[:, 0]]])]
    pieces = _groups(n, kept)
    piece_boxes = _boxes(every_box, pieces)
    whole_of_piece = np.zeros(len(piece_boxes), dtype=np.int64)
    whole_of_piece[pieces] = whole
    starts = _first(every_first, pieces, plan.width)
    order = np.argsort(starts[:, 1] * plan.width + starts[:, 0])
    return Components(piece_boxes[order], starts[order], large[whole_of_piece][order], whole_boxes[large])


def _joints(plan: SlidePlan, sides: dict[Tile, Parts], offsets: dict[Tile, int]) -> Integers:
    """Pairs of touching parts, and whether their seam lies on the cutting grid; shape (n, 3)."""
    cells = plan.cut_px // plan.core_px
    found: list[Integers] = []

    def touch(one: Tile, labels: Integers, other: Tile, theirs: Integers, on_grid: bool) -> None:
        both = (labels > 0) & (theirs > 0)
        pairs = np.stack([labels[both] - 1 + offsets[one], theirs[both] - 1 + offsets[other]], axis=1)
        pairs = np.unique(pairs, axis=0)
        found.append(np.concatenate([pairs, np.full((len(pairs), 1), on_grid, dtype=np.int64)], axis=1))

    for tile, mine in sides.items():
        row, column = tile.row, tile.column
        below, beside = (row + 1) % cells == 0, (column + 1) % cells == 0
        for other, labels, theirs, on_grid in (
            (Tile(row, column + 1), mine.right, "left", beside),
            (Tile(row + 1, column), mine.bottom, "top", below),
        ):
            if other in sides:
                for one, two in _shifted(labels, getattr(sides[other], theirs)):
                    touch(tile, one, other, two, on_grid)
        corners: tuple[tuple[Tile, Callable[[Parts], Integers], Callable[[Parts], Integers], bool], ...] = (
            (Tile(row + 1, column + 1), lambda each: each.bottom[-1:], lambda each: each.top[:1], beside or below),
            (Tile(row + 1, column - 1), lambda each: each.bottom[:1], lambda each: each.top[-1:],
             below or column % cells == 0),
        )  # fmt: skip
        for other, of_mine, of_theirs, on_grid in corners:
            if other in sides:
                touch(tile, of_mine(mine), other, of_theirs(sides[other]), on_grid)
    return np.concatenate(found) if found else np.zeros((0, 3), dtype=np.int64)


def _shifted(labels: Integers, theirs: Integers) -> Iterator[tuple[Integers, Integers]]:
    """Pixels across a seam that touch: opposite, and either way aslant."""
    yield labels, theirs
    yield labels[1:], theirs[:-1]
    yield labels[:-1], theirs[1:]


def _groups(n: int, joints: Integers) -> Integers:
    """For each of `n` parts the number of its group."""
    graph = coo_array((np.ones(len(joints), dtype=bool), (joints[:, 0], joints[:, 1])), shape=(n, n))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _boxes(boxes: Integers, groups: Integers) -> Integers:
    """Box around each group."""
    n = int(groups.max()) + 1
    result = np.empty((n, 4), dtype=np.int64)
    result[:, :2], result[:, 2:] = np.iinfo(np.int64).max, -1
    np.minimum.at(result[:, 0], groups, boxes[:, 0])
    np.minimum.at(result[:, 1], groups, boxes[:, 1])
    np.maximum.at(result[:, 2], groups, boxes[:, 2])
    np.maximum.at(result[:, 3], groups, boxes[:, 3])
    return result


def _first(first: Integers, groups: Integers, width: int) -> Integers:
    """First pixel of each group in reading order."""
    place = np.full(int(groups.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(place, groups, first[:, 1] * width + first[:, 0])
    return np.stack([place % width, place // width], axis=1)
