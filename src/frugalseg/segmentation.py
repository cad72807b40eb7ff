"""From an image to probability maps and labelled objects, whatever engine runs the network. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage

from frugalseg.arrays import Image, LabelMap, ProbabilityMap
from frugalseg.engines import Engine
from frugalseg.instances import InstanceSettings, foreground, object_classes, object_confidences, separate
from frugalseg.tiling import pad, tiles

TILE_CORE_PX = 1024
"""Side of a tile's kept part, at the network's scale."""

FLIPS = ((False, False), (False, True), (True, False), (True, True))
"""Flips at test time: (up-down, left-right)."""


@dataclass(frozen=True)
class Segmented:
    """Objects of one image at its full size, and the maps they came from at the network's scale."""

    labels: LabelMap
    classes: dict[int, int]
    confidences: dict[int, float]
    probabilities: ProbabilityMap


def normalise(image: Image) -> NDArray[np.float32]:
    """Colours 0-255 to about -1…1: (x - 127) / 128, as EfficientNet-Lite was trained; the same for all networks."""
    return (image.astype(np.float32) - 127.0) / 128.0


def resize_image(image: Image, scale: float) -> Image:
    """Resize a colour image by `scale`, averaging where it shrinks."""
    height, width = scaled_size(image.shape[0], image.shape[1], scale)
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(Pillow.fromarray(image).resize((width, height), Pillow.Resampling.BILINEAR))


def resize_labels(labels: LabelMap, height: int, width: int) -> LabelMap:
    """Resize a label map to (`height`, `width`) by nearest pixel centres; no new values appear."""
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(np.intp)
    return np.ascontiguousarray(labels[rows[:, None], columns[None, :]])


def scaled_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Size after scaling, at least one pixel on a side."""
    return max(1, round(height * scale)), max(1, round(width * scale))


def probability_map(
    engine: Engine, image: Image, *, tta: bool = False, core_px: int = TILE_CORE_PX, halo_px: int | None = None
) -> ProbabilityMap:
    """Probability map of an image that is already at the network's scale, tile by tile.

    Parameters
    ----------
    engine
        Runs the network.
    image
        Colours (H, W, 3), at the network's scale.
    tta
        Average over the four flips.
    core_px, halo_px
        Tile size and context; the engine's own receptive field by default, so that tiles equal the whole.

    Returns
    -------
    Shape (C + 2, H, W).
    """
    height, width = image.shape[:2]
    padded = pad(image, engine.stride)
    halo = engine.halo_px if halo_px is None else halo_px
    result: ProbabilityMap | None = None
    for tile in tiles(*padded.shape[:2], core_px=core_px, halo_px=halo, stride=engine.stride):
        maps = _run(engine, normalise(padded[tile.read]).transpose(2, 0, 1), tta)
        if result is None:
            result = np.empty((maps.shape[0], *padded.shape[:2]), dtype=np.float32)
        result[(slice(None), *tile.write)] = maps[(slice(None), *tile.keep)]
    assert result is not None  # an image has at least one tile
    return result[:, :height, :width]


def _run(engine: Engine, image: NDArray[np.float32], tta: bool) -> ProbabilityMap:
    """One tile (3, H, W) through the network, averaged over its flips if asked for."""
    total: ProbabilityMap | None = None
    chosen = FLIPS if tta else FLIPS[:1]
    for vertical, horizontal in chosen:
        turned = image[:, :: -1 if vertical else 1, :: -1 if horizontal else 1]
        maps = engine.run(np.ascontiguousarray(turned)[None])[0]
        maps = maps[:, :: -1 if vertical else 1, :: -1 if horizontal else 1]
        total = maps if total is None else total + maps
    assert total is not None
    return total / np.float32(len(chosen)) if tta else total


def segment(
    engines: Sequence[Engine], image: Image, *, scale: float, settings: InstanceSettings, tta: bool = False
) -> Segmented:
    """Segment an image of any size; several engines are an ensemble whose probabilities are averaged.

    Parameters
    ----------
    engines
        One for each member.
    image
        Colours (H, W, 3), full size.
    scale
        Factor from the image's pixels to the network's.
    settings
        How probabilities become objects.
    """
    small = resize_image(image, scale)
    maps = [probability_map(engine, small, tta=tta) for engine in engines]
    mean = maps[0] if len(maps) == 1 else np.asarray(np.mean(maps, axis=0, dtype=np.float32))
    labels = separate(mean, settings)
    return Segmented(
        labels=to_full_size(labels, mean, image.shape[0], image.shape[1], settings),
        classes=object_classes(labels, mean),
        confidences=object_confidences(labels, mean),
        probabilities=mean,
    )


def to_full_size(
    labels: LabelMap, probabilities: ProbabilityMap, height: int, width: int, settings: InstanceSettings
) -> LabelMap:
    """Bring objects to full size, their outlines from the interpolated foreground rather than from coarse pixels.

    Objects keep their numbers. Each pixel of the enlarged foreground takes the number of the nearest coarse pixel, or
    of the object one coarse pixel away.
    """
    if labels.shape == (height, width):
        return labels
    grown = _grow_by_one(labels)
    front = _resize_float(foreground(probabilities), height, width) > settings.threshold
    inside = resize_labels(labels, height, width)
    outline = np.where(front, resize_labels(grown, height, width), 0)
    # holes that `separate` filled stay filled: deep inside an object the coarse label holds
    deep = resize_labels(_shrink_by_one(labels), height, width)
    full = np.where(deep > 0, deep, outline).astype(np.int32)
    lost = np.setdiff1d(np.unique(inside), np.unique(full))
    for label in lost:  # an object so thin that interpolation swallowed it keeps its coarse pixels
        full[(inside == label) & (full == 0)] = label
    return full


def _grow_by_one(labels: LabelMap) -> LabelMap:
    """Objects grown by a pixel into the background, the higher number winning."""
    return np.where(labels > 0, labels, ndimage.maximum_filter(labels, size=3)).astype(np.int32)


def _shrink_by_one(labels: LabelMap) -> LabelMap:
    """Objects without the pixels that touch something else."""
    same = ndimage.minimum_filter(labels, size=3) == ndimage.maximum_filter(labels, size=3)
    return np.where(same, labels, 0).astype(np.int32)


def _resize_float(channel: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Bilinear enlargement of one map."""
    return np.asarray(Pillow.fromarray(channel).resize((width, height), Pillow.Resampling.BILINEAR))
