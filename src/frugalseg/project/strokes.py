"""Changes of a drawing: what a client sends, judged before anything is stored."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from frugalseg.arrays import UNKNOWN, LabelMap
from frugalseg.errors import InputError
from frugalseg.project.records import ProjectImage, Window

LARGEST_LABEL = 16_777_215
LARGEST_STROKE_PX = 16_777_216
"""A rectangle of 4096 x 4096."""


@dataclass(frozen=True)
class Stroke:
    """One change of a drawing.

    Attributes
    ----------
    uuid
        Made by the client; the same one sent twice is stored once.
    tool
        What made it, in a word.
    window
        The rectangle that changed: x, y, width, height; no width and no height if only classes changed.
    labels
        The rectangle's labels afterwards: little-endian int32 by rows, deflated (RFC 1950).
    object_classes
        Classes that changed, by object; None forgets one.
    accepted
        The whole new list of accepted objects of a proposal; None leaves it.
    """

    uuid: str
    tool: str
    window: Window
    labels: bytes = b""
    object_classes: Mapping[int, int | None] = field(default_factory=dict)
    accepted: tuple[int, ...] | None = None


def pack_labels(labels: NDArray[np.integer]) -> bytes:
    """Labels of any shape as strokes carry them."""
    return zlib.compress(np.ascontiguousarray(labels, dtype="<i4").tobytes(), level=1)


def unpack_labels(stroke: Stroke) -> LabelMap:
    """The labels of a stroke's rectangle, shape (h, w).

    Raises
    ------
    InputError
        They do not inflate, or to another size, or hold labels below -1 or above 16,777,215.
    """
    _, _, w, h = stroke.window
    inflate = zlib.decompressobj()
    try:
        content = inflate.decompress(stroke.labels, 4 * w * h + 1) if stroke.labels else b""
    except zlib.error as error:
        raise InputError("labels", f"do not inflate ({error})") from None
    if len(content) != 4 * w * h or (stroke.labels and not inflate.eof) or inflate.unused_data:
        raise InputError("labels", f"must inflate to {4 * w * h} bytes, as the rectangle is {w} x {h}")
    labels = np.frombuffer(content, dtype="<i4").reshape(h, w).astype(np.int32)
    if labels.size and (int(labels.min()) < UNKNOWN or int(labels.max()) > LARGEST_LABEL):
        raise InputError("labels", f"must lie between {UNKNOWN} and {LARGEST_LABEL}")
    return labels


def check_stroke(stroke: Stroke, image: ProjectImage, window: Window | None, n_classes: int) -> LabelMap:
    """Judge a stroke for an image of which only `window` may be drawn on; returns its labels.

    Raises
    ------
    InputError
        It does not lie there, is too large, or names classes or objects that cannot be.
    """
    x, y, w, h = stroke.window
    if (w == 0) != (h == 0) or min(x, y, w, h) < 0 or w * h > LARGEST_STROKE_PX:
        raise InputError("x, y, w, h", f"are no rectangle of at most {LARGEST_STROKE_PX} pixels")
    left, top, width, height = window or (0, 0, image.width, image.height)
    if w and not (left <= x and x + w <= left + width and top <= y and y + h <= top + height):
        raise InputError("x, y, w, h", f"must lie within {left}, {top}, {width}, {height}")
    known = range(1, LARGEST_LABEL + 1)
    if any(label not in known for label in (*stroke.object_classes, *(stroke.accepted or ()))):
        raise InputError("classes, accepted", f"name objects, which are numbered from 1 to {LARGEST_LABEL}")
    if any(index is not None and index not in range(n_classes) for index in stroke.object_classes.values()):
        raise InputError("classes", f"must lie in 0-{n_classes - 1}")
    return unpack_labels(stroke)
