"""Pictures for reports and galleries: outlines of objects over an image, sheets of many images."""

from __future__ import annotations

import heapq
import io
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from scipy import ndimage

from frugalseg.arrays import Image, LabelMap, Mask
from frugalseg.report.palette import CONTOURS, rgb

_DASH_WIDTHS = 4
"""Length of a dash of the truth's outline, in widths of the line."""


def overlay(image: Image, labels: LabelMap, *, truth: LabelMap | None = None) -> Pillow.Image:
    """Image with the outlines of objects, neighbours in different colours.

    Parameters
    ----------
    image
        Shape (H, W, 3).
    labels
        Objects, shape (H, W); outlines lie inside the objects. Labels below 1 have none.
    truth
        Objects of an annotation: dashed black and white outlines, drawn below the others.

    Returns
    -------
    PIL.Image.Image
        RGB, size of `image`. Lines are 1 pixel wide up to a diagonal of 600 pixels and grow with it.

    Raises
    ------
    ValueError
        Shapes that differ.
    """
    for other in (labels, truth):
        if other is not None and other.shape != image.shape[:2]:
            raise ValueError(f"label map of shape {other.shape} does not fit an image of shape {image.shape}")
    width = line_width(image.shape[0], image.shape[1])
    drawn = image.copy()
    if truth is not None:
        rows, columns = np.nonzero(outlines(truth, width))
        dark = (rows + columns) // (_DASH_WIDTHS * width) % 2 == 0
        drawn[rows, columns] = np.where(dark, 0, 255)[:, None]
    edges = outlines(labels, width)
    present, position = np.unique(labels[edges], return_inverse=True)
    if len(present):
        palette = np.array([rgb(colour) for colour in CONTOURS], dtype=np.uint8)
        drawn[edges] = palette[neighbour_colours(labels, len(CONTOURS), present)[position]]
    return Pillow.fromarray(drawn)


def line_width(height: int, width: int) -> int:
    """Width of outlines that is visible when the whole image is looked at."""
    return max(1, round(math.hypot(height, width) / 400))


def outlines(labels: LabelMap, width: int) -> Mask:
    """Pixels of objects within `width` of something else; the image's edge is nothing else."""
    size = 2 * width + 1
    same = ndimage.minimum_filter(labels, size) == ndimage.maximum_filter(labels, size)
    return np.asarray((labels > 0) & ~same)


def neighbour_colours(labels: LabelMap, n_colours: int, present: NDArray[np.int32]) -> NDArray[np.int64]:
    """Colour number of every label of `present` (ascending), different for neighbours as far as `n_colours` allow.

    Neighbours are objects whose Voronoi cells touch, however far apart. Cells make a planar graph, for which taking
    the vertices smallest-degree-last needs six colours at most (Matula and Beck 1983); objects in several pieces may
    need more, then the colour used least around them is taken.
    """
    around = _neighbours(labels)
    order = _smallest_last(around, present.tolist())
    colour: dict[int, int] = {}
    for label in order:
        used = [colour[other] for other in around.get(label, ()) if other in colour]
        # Start from the label's own number, so that the first colours are not overused.
        wanted = [(label + step) % n_colours for step in range(n_colours)]
        colour[label] = min(wanted, key=used.count)
    return np.array([colour[label] for label in present.tolist()], dtype=np.int64)


def _neighbours(labels: LabelMap) -> dict[int, set[int]]:
    if not (labels > 0).any():
        return {}
    indices = ndimage.distance_transform_edt(labels <= 0, return_distances=False, return_indices=True)
    cells = labels[indices[0], indices[1]].astype(np.int64)
    pairs = np.concatenate(
        [
            np.stack([cells[:, 1:].ravel(), cells[:, :-1].ravel()]),
            np.stack([cells[1:].ravel(), cells[:-1].ravel()]),
        ],
        axis=1,
    )
    pairs = np.unique(pairs[:, pairs[0] != pairs[1]], axis=1)
    around: dict[int, set[int]] = {}
    for one, other in pairs.T.tolist():
        around.setdefault(one, set()).add(other)
        around.setdefault(other, set()).add(one)
    return around


def _smallest_last(around: dict[int, set[int]], labels: list[int]) -> list[int]:
    """Labels such that each has few neighbours before it: the reverse of taking away the least connected one."""
    left = {label: set(around.get(label, ())) for label in labels}
    heap = [(len(others), label) for label, others in left.items()]
    heapq.heapify(heap)
    taken: list[int] = []
    while heap:
        degree, label = heapq.heappop(heap)
        if label not in left or degree != len(left[label]):
            continue  # an entry from before one of its neighbours was taken
        for other in left.pop(label):
            if other in left:
                left[other].discard(label)
                heapq.heappush(heap, (len(left[other]), other))
        taken.append(label)
    return taken[::-1]


def contact_sheet(
    images: Sequence[Image | Pillow.Image],
    titles: Sequence[str],
    *,
    columns: int | None = None,
    cell_px: int = 320,
) -> Pillow.Image:
    """Many images on one sheet, each shrunk to a width of at most `cell_px`, with its title below.

    Raises
    ------
    ValueError
        No image, or not as many titles as images.
    """
    if not images or len(images) != len(titles):
        raise ValueError(f"a sheet needs as many titles as images, at least one: {len(images)} and {len(titles)}")
    pictures = [_shrunk(item if isinstance(item, Pillow.Image) else Pillow.fromarray(item), cell_px) for item in images]
    across = columns or min(len(images), max(1, math.ceil(math.sqrt(len(images)))))
    font, gap, line = ImageFont.load_default(15), 8, 22
    wide, high = max(p.width for p in pictures), max(p.height for p in pictures)
    down = math.ceil(len(pictures) / across)
    sheet = Pillow.new("RGB", (gap + across * (wide + gap), gap + down * (high + line + gap)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        left = gap + number % across * (wide + gap)
        top = gap + number // across * (high + line + gap)
        sheet.paste(picture, (left, top))
        pen.text((left, top + picture.height + 2), _fitting(title, font, wide), fill="#222222", font=font)
    return sheet


def encode_picture(picture: Image | Pillow.Image, *, largest_px: int = 1200) -> bytes:
    """Picture as JPEG, no side above `largest_px`: photographs in reports, of which a page may hold dozens."""
    shown = picture if isinstance(picture, Pillow.Image) else Pillow.fromarray(picture)
    shown = shown.convert("RGB")
    shown.thumbnail((largest_px, largest_px), Pillow.Resampling.LANCZOS)
    stream = io.BytesIO()
    shown.save(stream, format="JPEG", quality=88, subsampling=0)
    return stream.getvalue()


def _shrunk(picture: Pillow.Image, cell_px: int) -> Pillow.Image:
    copy = picture.convert("RGB")
    copy.thumbnail((cell_px, cell_px), Pillow.Resampling.LANCZOS)
    return copy


def _fitting(title: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Title cut to `width` pixels, the cut marked by an ellipsis."""
    if font.getlength(title) <= width:
        return title
    while title and font.getlength(title + "…") > width:
        title = title[:-1]
    return title + "…"
