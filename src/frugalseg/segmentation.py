"""From an image to probability maps and labelled objects, whatever engine runs the network. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import ndimage

from frugalseg.arrays import Image, LabelMap, ProbabilityMap
from frugalseg.engines import Engine
from frugalseg.instances import InstanceSettings, foreground, object_classes, separate_judged
from frugalseg.stain import Stain, clear_black, curves_for, recolour
from frugalseg.tiling import pad, tiles

Label = TypeVar("Label", np.int32, np.bool_)

TILE_CORE_PX = 1024
"""Side of a tile's kept part, at the network's scale."""

TURNS = tuple((quarters, mirrored) for mirrored in (False, True) for quarters in range(4))
"""What is averaged at test time: quarter turns, of the image and of its mirror image."""

TTA_SCALES = (1.0, 0.8, 1.2)
"""And factors on the image scale; the first is the one that objects are made at."""


@dataclass(frozen=True)
class Segmented:
    """Objects of one image at its full size, and the maps they came from at the network's scale."""

    labels: LabelMap
    classes: dict[int, int]
    confidences: dict[int, float]
    probabilities: ProbabilityMap


def resize_image(image: Image, scale: float) -> Image:
    """Resize a colour image by `scale`, averaging where it shrinks."""
    height, width = scaled_size(image.shape[0], image.shape[1], scale)
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(Pillow.fromarray(image).resize((width, height), Pillow.Resampling.BILINEAR))


def network_image(image: Image, scale: float, stain: Stain | None) -> Image:
    """What a network is given of an image: resized by `scale`, its stain brought to `stain` unless that is None."""
    small = resize_image(image, scale)
    return recolour(small, curves_for(stain, [small]))


def resize_labels(labels: NDArray[Label], height: int, width: int) -> NDArray[Label]:
    """Resize a label map or a mask to (`height`, `width`) by nearest pixel centres; no new values appear."""
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(np.intp)
    resized: NDArray[Label] = np.take(np.take(labels, rows, axis=0), columns, axis=1)
    return resized


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
        Average over the eight turns and mirrored turns.
    core_px, halo_px
        Tile size and context; the engine's own receptive field by default, so that tiles equal the whole.

    Returns
    -------
    Shape (C + 2, H, W).
    """
    return _tile_by_tile(engine, image, lambda tile: _run(engine, tile, tta), core_px, halo_px)


def described_map(
    engine: Engine, image: Image, *, core_px: int = TILE_CORE_PX
) -> tuple[ProbabilityMap, NDArray[np.float32]]:
    """Probability map (C + 2, H, W) and descriptor (D,) of an image that is already at the network's scale.

    The descriptor of an image that is cut into tiles is the mean of theirs, weighted by their pixels.
    """
    descriptors: list[NDArray[np.float32]] = []
    weights: list[int] = []

    def run(tile: Image) -> ProbabilityMap:
        maps, found = engine.describe(np.ascontiguousarray(tile)[None])
        descriptors.append(found[0])
        weights.append(tile.shape[0] * tile.shape[1])
        return np.asarray(maps[0])

    maps = _tile_by_tile(engine, image, run, core_px, None)
    return maps, np.average(descriptors, axis=0, weights=weights).astype(np.float32)


def _tile_by_tile(
    engine: Engine, image: Image, run: Callable[[Image], ProbabilityMap], core_px: int, halo_px: int | None
) -> ProbabilityMap:
    """The map of an image of any size, put together from what `run` makes of its tiles."""
    height, width = image.shape[:2]
    padded = pad(image, engine.stride)
    halo = engine.halo_px if halo_px is None else halo_px
    result: ProbabilityMap | None = None
    for tile in tiles(*padded.shape[:2], core_px=core_px, halo_px=halo, stride=engine.stride):
        maps = run(padded[tile.read])
        if result is None:
            result = np.empty((maps.shape[0], *padded.shape[:2]), dtype=np.float32)
        result[(slice(None), *tile.write)] = maps[(slice(None), *tile.keep)]
    assert result is not None  # an image has at least one tile
    return result[:, :height, :width]


def _run(engine: Engine, image: Image, tta: bool) -> ProbabilityMap:
    """One tile (H, W, 3) through the network, averaged over its turns if asked for."""
    total: ProbabilityMap | None = None
    chosen = TURNS if tta else TURNS[:1]
    for quarters, mirrored in chosen:
        turned = np.rot90(image[:, ::-1] if mirrored else image, quarters)
        maps = engine.run(np.ascontiguousarray(turned)[None])[0]
        maps = np.rot90(maps, -quarters, axes=(1, 2))
        maps = maps[:, :, ::-1] if mirrored else maps
        total = maps if total is None else total + maps
    assert total is not None
    return total / np.float32(len(chosen)) if tta else total


def segment(
    engines: Sequence[Engine],
    image: Image,
    *,
    scale: float,
    settings: InstanceSettings,
    stain: Stain | None = None,
    tta: bool = False,
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
    stain
        What the image's stain is brought to; None leaves it.
    tta
        Average over turns, mirrored turns and three scales: 25 times the work. A rejector, which was fitted to maps
        that are not averaged, is not asked then.
    """
    settings = replace(settings, rejector=None) if tta else settings
    return objects_of(mean_map(engines, image, scale, tta, stain), image.shape[0], image.shape[1], settings)


def objects_of(probabilities: ProbabilityMap, height: int, width: int, settings: InstanceSettings) -> Segmented:
    """Objects of an image of this full size, from its probability map at the network's scale."""
    labels, confidences = separate_judged(probabilities, settings)
    full, number_of = _in_reading_order(to_full_size(labels, probabilities, height, width, settings))
    classes = object_classes(labels, probabilities)
    return Segmented(
        labels=full,
        classes={number_of[label]: index for label, index in classes.items() if label in number_of},
        confidences={number_of[label]: value for label, value in confidences.items() if label in number_of},
        probabilities=probabilities,
    )


def _in_reading_order(labels: LabelMap) -> tuple[LabelMap, dict[int, int]]:
    """Objects numbered by their first pixels, 1…n, and each one's new number by its old one."""
    places = np.flatnonzero(labels)
    old = labels.ravel()[places]
    first = np.full(int(old.max(initial=0)) + 1, -1, dtype=np.int64)
    first[old[::-1]] = places[::-1]  # of several pixels of an object the first one is written last
    present = np.flatnonzero(first >= 0)
    order = present[np.argsort(first[present])]
    if np.array_equal(order, np.arange(1, len(first))):
        return labels, {label: label for label in range(1, len(first))}
    numbers = np.zeros(len(first), dtype=np.int32)
    numbers[order] = np.arange(1, len(order) + 1)
    return numbers[labels], dict(zip(order.tolist(), numbers[order].tolist(), strict=True))


def mean_map(
    engines: Sequence[Engine], image: Image, scale: float, tta: bool, stain: Stain | None = None
) -> ProbabilityMap:
    """The mean of all engines' maps (C + 2, H, W) at `scale`, with `tta` over turns and scales, too."""
    total: ProbabilityMap | None = None
    seen = resize_image(image, scale)
    curves = curves_for(stain, [seen])
    factors = TTA_SCALES if tta else TTA_SCALES[:1]
    for factor in factors:
        small = recolour(resize_image(image, scale * factor) if factor != TTA_SCALES[0] else seen, curves)
        for engine in engines:
            maps = probability_map(engine, small, tta=tta)
            if total is None:
                total = maps
            else:
                total += maps if maps.shape == total.shape else _resize_maps(maps, *total.shape[1:])
    assert total is not None
    n = len(factors) * len(engines)
    mean = total / np.float32(n) if n > 1 else total
    clear_black(mean, seen, curves)
    return mean


def to_full_size(
    labels: LabelMap, probabilities: ProbabilityMap, height: int, width: int, settings: InstanceSettings
) -> LabelMap:
    """Bring objects to full size, their outlines from the interpolated foreground rather than from coarse pixels.

    Objects keep their numbers. Each pixel of the enlarged foreground takes the number of the nearest coarse pixel, or
    of the object one coarse pixel away.
    """
    if labels.shape == (height, width):
        return labels
    highest = ndimage.maximum_filter(labels, size=3)
    grown = np.where(labels > 0, labels, highest)  # by a pixel into the background, the higher number winning
    front = _resize_float(foreground(probabilities), height, width) > settings.threshold
    # holes that `separate` filled stay filled: deep inside an object the coarse label holds
    deep = (labels > 0) & (ndimage.minimum_filter(labels, size=3) == highest)
    full = np.where(front | resize_labels(deep, height, width), resize_labels(grown, height, width), 0)
    n = int(labels.max(initial=0)) + 1
    lost = np.bincount(full.ravel(), minlength=n) == 0
    if lost[1:].any():  # an object so thin that interpolation swallowed it keeps its coarse pixels
        inside = resize_labels(labels, height, width)
        full = np.where(lost[inside] & (full == 0), inside, full)
    return full.astype(np.int32, copy=False)


def _resize_maps(maps: ProbabilityMap, height: int, width: int) -> ProbabilityMap:
    """All channels at another size."""
    return np.stack([_resize_float(np.ascontiguousarray(channel), height, width) for channel in maps])


def _resize_float(channel: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Bilinear enlargement of one map."""
    return np.asarray(Pillow.fromarray(channel).resize((width, height), Pillow.Resampling.BILINEAR))
