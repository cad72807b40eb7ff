"""Where glands lie and what outline they have: the label map of a synthetic image.

A gland is a capsule (all points within a radius of a line segment) with a wavy radius, bent by a smooth displacement
of the plane. Where two overlap, each pixel goes to the one whose outline it lies deeper in, so that they touch back to
back, or keep a gap of stroma.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from frugalseg.arrays import LabelMap
from frugalseg.synthetic.texture import Field, Shape, smooth_noise

SMALLEST_AREA_PX = 500


@dataclass(frozen=True)
class Gland:
    """Outline of one gland before bending, in pixels and radians."""

    y: float
    x: float
    radius: float
    half_length: float
    angle: float
    waves: tuple[tuple[int, float, float], ...]
    """(lobes, amplitude as a fraction of the radius, phase) of every wave of the outline."""
    gap: float
    """Stroma kept between this gland and a neighbour that would overlap it; 0 lets them touch."""


@dataclass(frozen=True)
class Layout:
    """The glands of an image and how strongly the plane is bent."""

    glands: tuple[Gland, ...]
    bend_px: float
    bend_period_px: float


def benign_layout(rng: np.random.Generator, shape: Shape) -> Layout:
    """Crypts cut across: ellipses and short tubes of one size and direction on a loose hexagonal grid."""
    radius = rng.uniform(30, 52)
    elongation = rng.uniform(0.0, 0.8)
    direction = rng.uniform(0, np.pi)
    pitch = radius * rng.uniform(2.12, 2.7)
    stretch = 1 + 0.75 * elongation
    turn = np.array([[np.cos(direction), np.sin(direction)], [-np.sin(direction), np.cos(direction)]])
    reach = int(np.hypot(*shape) / pitch) + 2
    glands = []
    for row in range(-reach, reach + 1):
        for column in range(-reach, reach + 1):
            along = (column + 0.5 * (row % 2)) * pitch * stretch
            across = row * pitch * 0.87
            jitter = rng.normal(0, 0.07 * pitch, 2)
            y, x = np.array(shape) / 2 + turn.T @ np.array([along, across]) + jitter
            missing = rng.random() < 0.08
            size = radius * rng.normal(1, 0.07)
            glands.append(
                Gland(
                    y=y,
                    x=x,
                    radius=size,
                    half_length=max(0.0, size * elongation * rng.normal(1, 0.2)),
                    angle=direction + rng.normal(0, 0.2),
                    waves=_waves(rng, (2, 3, 5), 0.03),
                    gap=0.0 if rng.random() < 0.12 else rng.uniform(3, 7),
                )
            )
            if missing or not _near(y, x, radius * stretch, shape):
                glands.pop()
    return Layout(tuple(glands), bend_px=5.0, bend_period_px=90.0)


def malignant_layout(rng: np.random.Generator, shape: Shape) -> Layout:
    """Crowded, lobed glands of very different sizes, many back to back, with islands of bare stroma."""
    bare = smooth_noise(rng, shape, 150.0)
    bare_below = rng.uniform(-1.4, -0.5)
    closeness = rng.uniform(0.74, 0.98)
    margin = 40.0
    glands: list[Gland] = []
    for attempt in range(300):
        # Large glands are tried first, small ones fill what is left between them.
        largest = 72 - 40 * attempt / 300
        radius = rng.uniform(27, largest)
        y, x = rng.uniform(-margin, shape[0] + margin), rng.uniform(-margin, shape[1] + margin)
        half_length = radius * rng.choice([0.0, rng.uniform(0.2, 1.1)])
        angle, gap = rng.uniform(0, np.pi), 0.0 if rng.random() < 0.35 else rng.uniform(2, 9)
        waves = _waves(rng, (2, 3, 4, 5, 7), 0.16)
        row, column = int(np.clip(y, 0, shape[0] - 1)), int(np.clip(x, 0, shape[1] - 1))
        if bare[row, column] < bare_below or (radius + half_length) > 80:
            continue
        reach = radius + 0.6 * half_length
        if all(np.hypot(y - g.y, x - g.x) > closeness * (reach + g.radius + 0.6 * g.half_length) for g in glands):
            glands.append(Gland(y, x, radius, half_length, angle, waves, gap))
    return Layout(tuple(glands), bend_px=rng.uniform(9, 15), bend_period_px=rng.uniform(45, 70))


LAYOUTS: dict[str, Callable[[np.random.Generator, Shape], Layout]] = {
    "benign": benign_layout,
    "malignant": malignant_layout,
}


def draw_labels(rng: np.random.Generator, layout: Layout, shape: Shape) -> LabelMap:
    """Label map (H, W) of the glands; each label is one connected object of at least `SMALLEST_AREA_PX` pixels."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    rows += layout.bend_px * smooth_noise(rng, shape, layout.bend_period_px)
    columns += layout.bend_px * smooth_noise(rng, shape, layout.bend_period_px)
    best, second = np.full(shape, np.inf), np.full(shape, np.inf)
    owner, rival = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=np.int32)
    for number, gland in enumerate(layout.glands, start=1):
        # Only the gland's surroundings: three standard deviations of the bending and room for the waves.
        reach = 1.4 * gland.radius + gland.half_length + 3 * layout.bend_px
        box = _window(gland, reach, shape)
        outside = _signed_distance(gland, rows[box], columns[box])
        wins = outside < best[box]
        follows = ~wins & (outside < second[box])
        rival[box] = np.where(wins, owner[box], np.where(follows, number, rival[box]))
        second[box] = np.where(wins, best[box], np.where(follows, outside, second[box]))
        owner[box] = np.where(wins, number, owner[box])
        best[box] = np.minimum(best[box], outside)
    gaps = np.array([0.0, *(gland.gap for gland in layout.glands)])
    # Half the difference of the distances is, near the line where both are equal, the distance to that line.
    with np.errstate(invalid="ignore"):  # inf - inf far from all glands, where `best < 0` decides
        parted = (second - best) / 2 < np.minimum(gaps[owner], gaps[rival]) / 2
    return _whole_objects(np.where((best < 0) & ~parted, owner, 0))


def _signed_distance(gland: Gland, rows: Field, columns: Field) -> Field:
    """About the distance to the outline in pixels, negative inside."""
    dy, dx = rows - gland.y, columns - gland.x
    along = dy * np.sin(gland.angle) + dx * np.cos(gland.angle)
    across = dy * np.cos(gland.angle) - dx * np.sin(gland.angle)
    polar = np.arctan2(across, along)
    wave = np.ones_like(polar)
    for lobes, amplitude, phase in gland.waves:
        wave += amplitude * np.cos(lobes * polar + phase)
    # A smooth maximum of 0 and the way beyond the segment's end: an ellipse's flanks, not a stadium's.
    way = np.abs(along) - gland.half_length
    beyond = 0.5 * (way + np.hypot(way, 0.5 * gland.half_length))
    return np.asarray(np.hypot(beyond, across) - gland.radius * wave, dtype=np.float64)


def _window(gland: Gland, reach: float, shape: Shape) -> tuple[slice, slice]:
    """Part of the image within `reach` of the gland's centre; may be empty."""
    top, left = (max(0, int(centre - reach)) for centre in (gland.y, gland.x))
    bottom, right = (max(0, int(centre + reach) + 1) for centre in (gland.y, gland.x))
    return slice(min(top, shape[0]), bottom), slice(min(left, shape[1]), right)


def _whole_objects(owner: LabelMap) -> LabelMap:
    """Largest connected piece of every gland, numbered 1…n, small ones dropped."""
    labels = np.zeros(owner.shape, dtype=np.int32)
    count = 0
    for number, box in enumerate(ndimage.find_objects(owner), start=1):
        if box is None:
            continue
        pieces, _ = ndimage.label(owner[box] == number)
        areas = np.bincount(pieces.ravel())[1:]
        if areas.max() < SMALLEST_AREA_PX:
            continue
        count += 1
        piece = ndimage.binary_fill_holes(pieces == areas.argmax() + 1)
        labels[box][piece & (labels[box] == 0) & ((owner[box] == number) | (owner[box] == 0))] = count
    return labels


def _waves(rng: np.random.Generator, lobes: tuple[int, ...], strength: float) -> tuple[tuple[int, float, float], ...]:
    return tuple((n, float(rng.normal(0, strength * 2 / n)), float(rng.uniform(0, 2 * np.pi))) for n in lobes)


def _near(y: float, x: float, margin: float, shape: Shape) -> bool:
    return -margin < y < shape[0] + margin and -margin < x < shape[1] + margin
