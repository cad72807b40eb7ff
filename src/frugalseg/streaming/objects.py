"""From the components of one block to its objects: exactly those that the whole slide would give.

What :func:`frugalseg.instances.separate` makes of a component depends on the component, on what its holes enclose,
and on nothing else. So the components of a block are looked at in a window around their boxes, with everything blanked
but them and what they enclose; a component that another one encloses is left to that one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

from frugalseg.arrays import LabelMap, Mask, ProbabilityMap
from frugalseg.instances import (
    CUT_FACTOR,
    EIGHT,
    InstanceSettings,
    foreground,
    object_classes,
    object_confidences,
    separate,
)
from frugalseg.streaming.outlines import outline, polygons
from frugalseg.streaming.plan import BLOCK_PX, Rect, SlidePlan
from frugalseg.streaming.probabilities import window_maps
from frugalseg.streaming.shapes import SHAPES, shapes_of
from frugalseg.streaming.stitch import Components, Integers
from frugalseg.streaming.store import Arrays, ArrayStore

TOGETHER_PX = 1024
"""Components up to this side are looked at together with the others of their block, larger ones alone."""


@dataclass(frozen=True)
class Objects:
    """Objects of a block, in reading order of their first pixels.

    Attributes
    ----------
    boxes
        Left, top, right, bottom in the view, shape (n, 4).
    masks
        Pixels of each within its box.
    polygons
        Outlines in level 0, one valid polygon or multi-polygon each.
    classes
        Class of each, from 0.
    confidences
        Probability of each, see :func:`frugalseg.instances.object_confidences`.
    shapes
        Measurements in pixels of the view, shape (n, len(SHAPES)).
    pieces
        Whether each comes from a piece of a component that was cut.
    """

    boxes: Integers
    masks: tuple[Mask, ...]
    polygons: NDArray[np.object_]
    classes: Integers
    confidences: NDArray[np.float64]
    shapes: NDArray[np.float64]
    pieces: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.boxes)

    def to_arrays(self) -> Arrays:
        """For an :class:`ArrayStore`."""
        bits = [np.packbits(mask) for mask in self.masks]
        outlines = [np.frombuffer(each, dtype=np.uint8) for each in shapely.to_wkb(self.polygons)]
        empty = np.zeros(0, dtype=np.uint8)
        return {
            "boxes": self.boxes,
            "bits": np.concatenate([empty, *bits]),
            "outlines": np.concatenate([empty, *outlines]),
            "n_outline": np.array([len(each) for each in outlines], dtype=np.int64),
            "classes": self.classes,
            "confidences": self.confidences,
            "shapes": self.shapes,
            "pieces": self.pieces,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Objects:
        """What :meth:`to_arrays` gave."""
        return cls(
            arrays["boxes"].astype(np.int64),
            stored_masks(arrays),
            stored_polygons(arrays),
            arrays["classes"].astype(np.int64),
            arrays["confidences"].astype(np.float64),
            arrays["shapes"].astype(np.float64),
            arrays["pieces"].astype(bool),
        )


def stored_masks(arrays: Arrays) -> tuple[Mask, ...]:
    """The masks of stored objects alone."""
    boxes = arrays["boxes"]
    sizes = (boxes[:, 2:] - boxes[:, :2])[:, ::-1].tolist()
    ends = np.cumsum([(height * width + 7) // 8 for height, width in sizes])
    bits = np.split(arrays["bits"], ends[:-1]) if sizes else []
    return tuple(
        np.unpackbits(each, count=height * width).reshape(height, width).astype(bool)
        for each, (height, width) in zip(bits, sizes, strict=True)
    )


def stored_polygons(arrays: Arrays) -> NDArray[np.object_]:
    """The polygons of stored objects alone."""
    content = arrays["outlines"].tobytes()
    ends = np.cumsum(arrays["n_outline"]).tolist()
    outlines = [content[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)] if ends else []
    return np.asarray(shapely.from_wkb(np.array(outlines, dtype=object)), dtype=object)


def blocks_of(components: Components) -> Integers:
    """For each component the row and column of its block, shape (n, 2)."""
    return components.boxes[:, [1, 0]] // BLOCK_PX


def are_alone(components: Components) -> Mask:
    """For each component whether it is looked at alone: the large ones, and pieces of what was cut."""
    sides = np.maximum(components.boxes[:, 2] - components.boxes[:, 0], components.boxes[:, 3] - components.boxes[:, 1])
    return np.asarray((sides > TOGETHER_PX) | components.pieces)


def are_debris(components: Components, settings: InstanceSettings) -> Mask:
    """For each component whether it is too small for any object, even if the edge cut it and its holes were filled."""
    areas = np.prod(components.boxes[:, 2:] - components.boxes[:, :2], axis=1)
    return np.asarray(areas * CUT_FACTOR < settings.debris_area)


def enclosed(plan: SlidePlan, store: ArrayStore, components: Components, settings: InstanceSettings) -> Mask:
    """For each component whether it lies in a hole of one that is looked at elsewhere, which then takes care of it."""
    result = np.zeros(len(components.boxes), dtype=bool)
    boxes, starts = components.boxes, components.first
    blocks, alone = blocks_of(components), are_alone(components)
    crosses = np.any(boxes[:, [1, 0]] // BLOCK_PX != (boxes[:, [3, 2]] - 1) // BLOCK_PX, axis=1)
    outer = np.flatnonzero(crosses | alone)
    tree = shapely.STRtree(np.asarray(shapely.points(boxes[:, :2].astype(float))))
    around = shapely.box(*(boxes[outer] + np.array([0.5, 0.5, 0, 0])).T)
    pairs = tree.query(around, predicate="contains")
    for number in np.unique(pairs[0]):
        index = int(outer[number])
        inner = pairs[1][pairs[0] == number]
        inside = np.all(boxes[inner, 2:] < boxes[index, 2:], axis=1)
        elsewhere = alone[index] | alone[inner] | np.any(blocks[inner] != blocks[index], axis=1)
        inner = inner[inside & elsewhere & ~result[inner]]
        if not len(inner):
            continue
        window = Rect(*boxes[index].tolist())
        mask = foreground(window_maps(plan, store, window)) > settings.threshold
        region = filled(_chosen(mask, starts[[index]] - boxes[index, :2]))
        result[inner[region[starts[inner, 1] - window.top, starts[inner, 0] - window.left]]] = True
    return result


def filled(mask: Mask) -> Mask:
    """The mask and everything it encloses (what is not of it hangs together by sides, as holes do)."""
    outside, _ = ndimage.label(np.pad(~mask, 1, constant_values=True))
    return np.asarray((outside != outside[0, 0])[1:-1, 1:-1])


def _chosen(mask: Mask, starts: Integers) -> Mask:
    """The components of a mask that have these first pixels (x, y)."""
    parts, n = ndimage.label(mask, EIGHT)
    wanted = np.zeros(n + 1, dtype=bool)
    wanted[parts[starts[:, 1], starts[:, 0]]] = True
    wanted[0] = False
    return np.asarray(wanted[parts])


def objects_of_block(
    plan: SlidePlan, store: ArrayStore, components: Components, chosen: Integers, settings: InstanceSettings
) -> Objects:
    """Objects of some components of one block, with what they enclose.

    Parameters
    ----------
    chosen
        Numbers of the components; none of them encloses another one that is looked at alone, or is enclosed so.
    """
    alone = are_alone(components)[chosen]
    groups = ([chosen[~alone]] if not alone.all() else []) + [chosen[[place]] for place in np.flatnonzero(alone)]
    found = [_objects_of(plan, store, components, group, settings) for group in groups]
    boxes = np.concatenate([each.boxes for each in found])
    first = [(box[1], box[0] + int(mask[0].argmax())) for box, mask in zip(
        boxes.tolist(), (mask for each in found for mask in each.masks), strict=True)]  # fmt: skip
    order = sorted(range(len(first)), key=first.__getitem__)
    masks = [mask for each in found for mask in each.masks]
    return Objects(
        boxes[order],
        tuple(masks[index] for index in order),
        np.concatenate([each.polygons for each in found])[order],
        np.concatenate([each.classes for each in found])[order],
        np.concatenate([each.confidences for each in found])[order],
        np.concatenate([each.shapes for each in found])[order],
        np.concatenate([each.pieces for each in found])[order],
    )


def _objects_of(
    plan: SlidePlan, store: ArrayStore, components: Components, group: Integers, settings: InstanceSettings
) -> Objects:
    boxes = components.boxes[group]
    # A rim of background, where the frame does not end, tells that nothing is cut there.
    tight = Rect(*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist())
    window = tight.grown(1).overlap(plan.frame)
    maps = window_maps(plan, store, window)
    front = foreground(maps)
    mask = np.zeros(front.shape, dtype=bool)
    inner = tight.within(window)
    mask[inner] = front[inner] > settings.threshold
    region = filled(_chosen(mask, components.first[group] - np.array([window.left, window.top])))
    maps[1:, ~region] = 0
    maps[0, ~region] = 1
    labels = separate(maps, settings)
    return _described(plan, window, labels, maps, front, bool(components.pieces[group].any()), settings)


def _described(
    plan: SlidePlan,
    window: Rect,
    labels: LabelMap,
    maps: ProbabilityMap,
    front: NDArray[np.float32],
    piece: bool,
    settings: InstanceSettings,
) -> Objects:
    n = int(labels.max(initial=0))
    classes, confidences = object_classes(labels, maps), object_confidences(labels, maps, settings.rejector)
    around = np.pad(front, 1)
    boxes = np.zeros((n, 4), dtype=np.int64)
    masks: list[Mask] = []
    outlines = []
    for index, (rows, columns) in enumerate(ndimage.find_objects(labels)):
        mask = labels[rows, columns] == index + 1
        left, top = columns.start + window.left, rows.start + window.top
        boxes[index] = left, top, columns.stop + window.left, rows.stop + window.top
        near = around[rows.start : rows.stop + 2, columns.start : columns.stop + 2]
        masks.append(mask)
        outlines.append(outline(mask, near, settings.threshold, left=left, top=top))
    shapes = polygons(outlines, plan.steps, plan.slide_width, plan.slide_height)
    return Objects(
        boxes,
        tuple(masks),
        shapes,
        np.array([classes[label] for label in range(1, n + 1)], dtype=np.int64),
        np.array([confidences[label] for label in range(1, n + 1)], dtype=np.float64),
        shapes_of(boxes, masks, shapes, plan.steps) if n else np.zeros((0, len(SHAPES))),
        np.full(n, piece),
    )
