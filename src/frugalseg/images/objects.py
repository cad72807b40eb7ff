"""Objects of label maps: connected components, binary masks recognised, sizes."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label

from frugalseg.arrays import UNKNOWN, LabelMap, Mask

_EIGHT = np.ones((3, 3), dtype=bool)

_MOST_CLASSES = 16
"""Scattered labels up to so many may be classes; more are grey values."""


def label_components(mask: Mask) -> tuple[LabelMap, int]:
    """Number the 8-connected components of a mask 1…n, in the order of their first pixels.

    Returns
    -------
    tuple of LabelMap and int
        The numbered components (0 elsewhere) and how many there are; none gives zeros and 0.
    """
    labels = np.zeros(mask.shape, dtype=np.int32)
    n_objects = int(ndimage.label(mask, structure=_EIGHT, output=labels))
    return labels, n_objects


def is_binary(labels: LabelMap) -> bool:
    """Whether a label map looks like a foreground mask: one value only, and it is 255 or covers several components.

    One object labelled 1 in one piece is a label map like any other. Not annotated pixels do not count.
    """
    top = int(labels.max(initial=0))
    if top <= 0 or np.any((labels > 0) & (labels != top)):
        return False
    return top in (255, 65535) or label_components(labels > 0)[1] > 1


def doubt_of(labels: LabelMap) -> str | None:
    """Why a map's labels are hardly objects, in words; None if nothing speaks against it.

    Labels that lie in more than two pieces each on the mean are classes, or the grey edges of a mask that was resized
    with interpolation or kept as JPEG.
    """
    known = np.where(labels == UNKNOWN, 0, labels)
    n_labels = len(np.unique(known[known > 0]))
    if n_labels < 2 or (n_pieces := int(label(known, connectivity=2).max())) <= 2 * n_labels:
        return None
    told = f"its {n_labels} labels lie in {n_pieces:,} pieces"
    if n_labels > _MOST_CLASSES:
        return f"{told}: was it resized with interpolation, or kept as JPEG? Each value is taken for an object"
    return f"{told}: are they classes? Each is taken for one object"


def split_components(labels: LabelMap) -> tuple[LabelMap, dict[int, int]]:
    """Make each 8-connected component of each label an object of its own, numbered 1…n.

    Returns
    -------
    tuple of LabelMap and dict
        The new labels (not annotated pixels stay so), and for each its label in `labels`.
    """
    result = np.where(labels == UNKNOWN, np.int32(UNKNOWN), np.int32(0))
    origin: dict[int, int] = {}
    for value in np.unique(labels[labels > 0]).tolist():
        components, n_objects = label_components(labels == value)
        inside = components > 0
        result[inside] = components[inside] + len(origin)
        origin.update({len(origin) + number: value for number in range(1, n_objects + 1)})
    return result, origin


def object_areas(labels: LabelMap) -> NDArray[np.int64]:
    """Areas in pixels of the objects that are there, by ascending label; empty for none."""
    foreground = labels[labels > 0]
    if not foreground.size:
        return np.zeros(0, dtype=np.int64)
    return np.unique(foreground, return_counts=True)[1].astype(np.int64)


def object_diameters(labels: LabelMap) -> NDArray[np.float64]:
    """Diameters in pixels of the circles of equal area, 2 sqrt(A / π), of the objects by ascending label."""
    return 2 * np.sqrt(object_areas(labels) / math.pi)


def median_object_diameter(label_maps: Iterable[LabelMap]) -> float:
    """Median over all objects of :func:`object_diameters`, whatever image they lie in; NaN without objects."""
    diameters = np.concatenate([np.zeros(0), *(object_diameters(labels) for labels in label_maps)])
    return float(np.median(diameters)) if diameters.size else math.nan
