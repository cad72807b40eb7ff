"""The label map of a slide and its smaller copies, tile by tile, on disk; never whole in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frugalseg.streaming.objects import stored_masks
from frugalseg.streaming.plan import Rect, SlidePlan
from frugalseg.streaming.stitch import Integers
from frugalseg.streaming.store import ArrayStore

LABEL_TILE_PX = 1024
SMALLEST_PX = 1024
"""The last level's longer side is at most this."""

Labels = NDArray[np.uint32]


@dataclass(frozen=True)
class ObjectIndex:
    """Where each object's data lie; object i has the label i + 1.

    Attributes
    ----------
    names
        Of the parts in the store of objects, in order.
    part, place
        For each object the number of its part, and its place there, shape (n,).
    boxes
        Left, top, right, bottom in the view, shape (n, 4).
    """

    names: tuple[str, ...]
    part: Integers
    place: Integers
    boxes: Integers

    def __len__(self) -> int:
        return len(self.part)


def level_sizes(plan: SlidePlan) -> tuple[tuple[int, int], ...]:
    """Width and height of each level of the label map; each is half of the one before, rounded up."""
    sizes = [(plan.width, plan.height)]
    while max(sizes[-1]) > SMALLEST_PX:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return tuple(sizes)


def paint(
    plan: SlidePlan,
    index: ObjectIndex,
    objects: ArrayStore,
    labels: ArrayStore,
    *,
    advance: Callable[[int], None] = lambda n: None,
) -> None:
    """Write all tiles of all levels that hold an object; those that are there already are kept.

    A smaller copy takes every other pixel of every other row.
    """
    below: set[tuple[int, int]] = set()
    for (row, column), members in _members(index):
        tile = Rect(column, row, column + 1, row + 1)
        name = tile_name(0, row, column)
        if labels.get(name) is None:  # not there, or damaged
            labels.put(name, {"labels": _painted(plan, tile, members, index, objects)})
        below.add((row, column))
        advance(1)
    for level in range(1, len(level_sizes(plan))):
        above = {(row // 2, column // 2) for row, column in below}
        for row, column in sorted(above):
            name = tile_name(level, row, column)
            if labels.get(name) is None:  # not there, or damaged
                labels.put(name, {"labels": _halved(plan, labels, level, row, column)})
        below = above


def tile_name(level: int, row: int, column: int) -> str:
    """Name of a tile in the store."""
    return f"{level}_{row:05d}_{column:05d}"


def label_tile(plan: SlidePlan, labels: ArrayStore, level: int, row: int, column: int) -> Labels | None:
    """One tile, cut where the level ends; None where it holds no object."""
    arrays = labels.get(tile_name(level, row, column))
    return None if arrays is None else np.asarray(arrays["labels"], dtype=np.uint32)


def tile_grid(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of tiles of a level of this width and height."""
    return math.ceil(size[1] / LABEL_TILE_PX), math.ceil(size[0] / LABEL_TILE_PX)


def window_labels(plan: SlidePlan, labels: ArrayStore, level: int, window: Rect) -> Labels:
    """Labels of a window of a level."""
    result = np.zeros((window.height, window.width), dtype=np.uint32)
    for row in range(window.top // LABEL_TILE_PX, (window.bottom - 1) // LABEL_TILE_PX + 1):
        for column in range(window.left // LABEL_TILE_PX, (window.right - 1) // LABEL_TILE_PX + 1):
            tile = label_tile(plan, labels, level, row, column)
            if tile is not None:
                left, top = column * LABEL_TILE_PX, row * LABEL_TILE_PX
                place = Rect(left, top, left + tile.shape[1], top + tile.shape[0])
                shared = place.overlap(window)
                result[shared.within(window)] = tile[shared.within(place)]
    return result


def _members(index: ObjectIndex) -> Iterator[tuple[tuple[int, int], Integers]]:
    """Each tile of level 0 that objects touch, in reading order, with their numbers."""
    if not len(index):
        return
    first = index.boxes[:, :2] // LABEL_TILE_PX
    last = (index.boxes[:, 2:] - 1) // LABEL_TILE_PX
    spans = last - first + 1
    each = np.repeat(np.arange(len(index)), spans[:, 0] * spans[:, 1])
    starts = np.cumsum(spans[:, 0] * spans[:, 1]) - spans[:, 0] * spans[:, 1]
    step = np.arange(len(each)) - starts[each]
    columns = first[each, 0] + step % spans[each, 0]
    rows = first[each, 1] + step // spans[each, 0]
    order = np.lexsort((each, columns, rows))
    rows, columns, each = rows[order], columns[order], each[order]
    ends = np.flatnonzero(np.diff(rows, append=-1) | np.diff(columns, append=-1)) + 1
    for start, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        yield (int(rows[start]), int(columns[start])), each[start:end]


def _painted(plan: SlidePlan, tile: Rect, members: Integers, index: ObjectIndex, objects: ArrayStore) -> Labels:
    left, top = tile.left * LABEL_TILE_PX, tile.top * LABEL_TILE_PX
    area = Rect(left, top, left + LABEL_TILE_PX, top + LABEL_TILE_PX).overlap(Rect(0, 0, plan.width, plan.height))
    result = np.zeros((area.height, area.width), dtype=np.uint32)
    for part in np.unique(index.part[members]).tolist():
        arrays = objects.get(index.names[part])
        assert arrays is not None  # the index was made from it
        masks = stored_masks(arrays)
        for number in members[index.part[members] == part].tolist():
            box = Rect(*index.boxes[number].tolist())
            shared = box.overlap(area)
            mask = masks[int(index.place[number])][shared.within(box)]
            result[shared.within(area)][mask] = number + 1
    return result


def _halved(plan: SlidePlan, labels: ArrayStore, level: int, row: int, column: int) -> Labels:
    width, height = level_sizes(plan)[level]
    top, left = row * LABEL_TILE_PX, column * LABEL_TILE_PX
    result = np.zeros((min(LABEL_TILE_PX, height - top), min(LABEL_TILE_PX, width - left)), dtype=np.uint32)
    half = LABEL_TILE_PX // 2
    for down in (0, 1):
        for across in (0, 1):
            tile = label_tile(plan, labels, level - 1, 2 * row + down, 2 * column + across)
            if tile is not None:
                small = tile[::2, ::2]
                place = result[down * half : down * half + half, across * half : across * half + half]
                place[: small.shape[0], : small.shape[1]] = small
    return result
