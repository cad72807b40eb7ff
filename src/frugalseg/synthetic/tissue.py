"""How much haematoxylin and eosin every part of the tissue takes up: stroma, epithelium, goblet cells, lumen.

All distances are in pixels of about 0.9 µm (the GlaS slides at two thirds of their size).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from frugalseg.arrays import LabelMap, Mask
from frugalseg.synthetic.texture import (
    Field,
    Shape,
    Stamps,
    fibre_noise,
    scatter,
    smooth_noise,
    smooth_step,
    stamp_ellipses,
)


@dataclass
class Dyes:
    """Concentration of the two dyes for every pixel; the drawing functions below paint into it."""

    haematoxylin: Field
    eosin: Field

    def paint(self, cover: Field, haematoxylin: Field | float, eosin: Field | float) -> None:
        """Blend towards the given concentrations where `cover` (0-1) says so."""
        self.haematoxylin += cover * (haematoxylin - self.haematoxylin)
        self.eosin += cover * (eosin - self.eosin)


@dataclass(frozen=True)
class Anatomy:
    """Where every pixel lies in its gland."""

    labels: LabelMap
    depth: Field
    """Distance to the gland's outline (or to the gland that touches it); 0 in stroma."""
    edge: tuple[NDArray[np.int32], NDArray[np.int32]]
    """Row and column of the nearest pixel of the outline: constant along a cell, so noise looked up there is radial."""
    inward: Field
    """Direction to the lumen, radians from the row direction."""
    outside: Field
    """Distance to the nearest gland; 0 in glands."""
    nearest: LabelMap
    """Label of that gland."""
    lumen: Field
    """Signed distance to the lumen's surface, positive in the lumen; ``-inf``-like large negative in stroma."""


@dataclass(frozen=True)
class Style:
    """What sets the kinds of tissue apart; lengths in pixels."""

    thickness: tuple[float, float]
    """Range of the epithelium's thickness as a fraction of the gland's inner radius."""
    rows: float
    """Depth of the layer of nuclei: one row, or stratified."""
    nucleus: tuple[float, float]
    """Half length and half width."""
    spacing: int
    disorder: float
    """Standard deviation of the nuclei's direction, radians."""
    goblet: tuple[float, float]
    """Range over the images of the share of the epithelium that goblet cells fill."""
    vesicular: float
    """How pale nuclei are inside (0-1)."""
    cribriform: float
    """Share of glands with several lumens."""
    lymphocytes: tuple[float, float]
    spindles: tuple[float, float]
    cleft: float
    """Share of glands that the tissue shrank away from."""


STYLES: dict[str, Style] = {
    "benign": Style(
        thickness=(0.6, 0.85), rows=3.0, nucleus=(4.3, 1.9), spacing=5, disorder=0.12, goblet=(0.3, 1.0), vesicular=0.1,
        cribriform=0.0, lymphocytes=(0.0, 0.45), spindles=(0.03, 0.2), cleft=0.06,
    ),
    "malignant": Style(
        thickness=(0.45, 0.8), rows=14.0, nucleus=(5.0, 2.6), spacing=7, disorder=0.35, goblet=(-0.2, 0.25),
        vesicular=0.5, cribriform=0.35, lymphocytes=(-0.1, 0.2), spindles=(0.1, 0.4), cleft=0.25,
    ),
}  # fmt: skip


def stain_tissue(rng: np.random.Generator, labels: LabelMap, style: Style) -> Dyes:
    """Concentration of haematoxylin and eosin in the whole field of view."""
    anatomy = _measure(rng, labels, style)
    dyes = _stroma(rng, anatomy, style)
    _epithelium(rng, anatomy, style, dyes)
    _lumen(rng, anatomy, style, dyes)
    grain = 1 + 0.06 * rng.standard_normal(labels.shape)
    dyes.haematoxylin = np.clip(dyes.haematoxylin * grain, 0, None)
    dyes.eosin = np.clip(dyes.eosin * grain, 0, None)
    return dyes


def _measure(rng: np.random.Generator, labels: LabelMap, style: Style) -> Anatomy:
    shape = labels.shape
    inside = labels > 0
    inside[:, 1:] &= ~((labels[:, 1:] != labels[:, :-1]) & (labels[:, :-1] > 0))
    inside[1:] &= ~((labels[1:] != labels[:-1]) & (labels[:-1] > 0))
    depth, edge = _distance(inside)
    smooth = ndimage.gaussian_filter(depth, 2.0)
    down, across = np.gradient(smooth)
    outside, (row, column) = _distance(labels == 0)
    n = int(labels.max())
    deepest = np.zeros(n + 1)
    if n:
        deepest[1:] = ndimage.maximum(depth, labels, np.arange(1, n + 1))
    thickness = np.clip(deepest * rng.uniform(*style.thickness, n + 1), 10, 34)
    uneven = 1.6 if style.cribriform == 0 else 3.2
    lumen = depth - thickness[labels] + uneven * smooth_noise(rng, shape, 14.0)
    lumen += 0.8 * smooth_noise(rng, shape, 4.0)
    several = rng.random(n + 1) < style.cribriform * (deepest > 24)
    if several.any():
        lumen = np.where(several[labels], _cribriform(rng, depth, several[labels]), lumen)
    lumen = np.where(inside & (depth > 5), lumen, -99.0)
    return Anatomy(labels, depth, edge, np.arctan2(across, down), outside, labels[row, column], lumen)


def _distance(mask: Mask) -> tuple[Field, tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Distance of the pixels of `mask` to the rest, and which pixel of the rest; large where there is no rest."""
    if mask.all():
        own = np.indices(mask.shape).astype(np.int32)
        return np.full(mask.shape, 99.0), (own[0], own[1])
    distance, indices = ndimage.distance_transform_edt(mask, return_indices=True)
    return distance, (indices[0], indices[1])


def _cribriform(rng: np.random.Generator, depth: Field, where: Mask) -> Field:
    """Signed distance to the surface of several round lumens, punched out of a solid gland."""
    holes = scatter(rng, where & (depth > 14), 43)
    size = rng.uniform(4, 12, len(holes))
    stamps = stamp_ellipses(
        depth.shape, holes, rng.uniform(0, np.pi, len(holes)), size * rng.uniform(1, 1.6, len(holes)), size
    )
    signed = np.full(depth.shape, -20.0)
    drawn = np.isfinite(stamps.radius)
    signed[drawn] = ((1 - stamps.radius) * size[stamps.index] if len(holes) else stamps.radius)[drawn]
    return signed + 2.0 * smooth_noise(rng, depth.shape, 9.0)


def _stroma(rng: np.random.Generator, anatomy: Anatomy, style: Style) -> Dyes:
    """Wavy collagen with pale gaps, spindle-shaped nuclei along it, lymphocytes in clouds, red cells, clefts."""
    shape = anatomy.labels.shape
    bare = anatomy.labels == 0
    angle = rng.uniform(0, np.pi) + 0.7 * smooth_noise(rng, shape, 110.0)
    fibres = fibre_noise(rng, shape, angle, 2.2)
    loose = smooth_noise(rng, shape, 60.0) + rng.normal(0, 0.4)
    eosin = np.clip(0.45 + 0.10 * fibres - 0.10 * loose, 0.08, None)
    haematoxylin = np.clip(0.09 + 0.03 * fibres + 0.03 * smooth_noise(rng, shape, 5.0), 0.01, None)
    dyes = Dyes(haematoxylin, eosin)
    tears = smooth_step((fibres * -0.6 + 0.6 * loose - 1.15) / 0.7)
    dyes.paint(0.9 * tears, 0.02, 0.04)
    dyes.paint(_red_cells(rng, bare & (anatomy.outside > 3)), 0.05, 1.15)
    # The basement membrane: a thin pink line around the gland.
    dyes.paint(0.5 * (bare & (anatomy.outside < 2)), 0.15, 0.6)
    n = int(anatomy.labels.max())
    cleft = np.where(rng.random(n + 1) < style.cleft, rng.uniform(3, 7, n + 1), 0.0)[anatomy.nearest]
    width = cleft * smooth_step(0.6 + 0.8 * smooth_noise(rng, shape, 25.0))
    dyes.paint(0.9 * bare * (cleft > 0) * smooth_step((width - anatomy.outside) / 1.5), 0.02, 0.03)

    free = bare & (anatomy.outside > 2) & (tears < 0.5)
    crowd = smooth_noise(rng, shape, 45.0)
    amount = rng.uniform(*style.lymphocytes)
    small = scatter(rng, free & (rng.random(shape) < 0.10 * smooth_step(amount + 0.30 * crowd)), 7, passes=1)
    _nuclei(rng, dyes, small, rng.uniform(0, np.pi, len(small)), (2.5, 2.2), 1.1, 0.1)
    amount = rng.uniform(*style.spindles)
    long = scatter(rng, free & (rng.random(shape) < 0.05 * amount), 9)
    along = np.pi / 2 - angle[long[:, 0], long[:, 1]]
    _nuclei(rng, dyes, long, along + rng.normal(0, 0.2, len(long)), (5.0, 1.4), 1.0, 0.15)
    return dyes


def _red_cells(rng: np.random.Generator, where: Mask) -> Field:
    """Cover of a few little heaps of red blood cells."""
    heaps = smooth_noise(rng, where.shape, 22.0) > 2.1
    cells = scatter(rng, where & heaps, 6)
    ones = np.ones(len(cells))
    return 0.8 * stamp_ellipses(where.shape, cells, ones, 2.6 * ones, 2.3 * ones).cover() * where


def _epithelium(rng: np.random.Generator, anatomy: Anatomy, style: Style, dyes: Dyes) -> None:
    """Columnar cells: lavender cytoplasm, pinker towards the lumen, goblet vacuoles, nuclei on the outer side."""
    shape, depth = anatomy.labels.shape, anatomy.depth
    gland = (anatomy.labels > 0).astype(np.float64)
    streaks = smooth_noise(rng, shape, 2.2)[anatomy.edge]
    basal = smooth_step(1.2 - depth / (style.rows + 7))
    tone = 1 + 0.10 * streaks + 0.10 * smooth_noise(rng, shape, 3.0)
    dyes.paint(gland, (0.24 + 0.10 * basal) * tone, (0.46 + 0.04 * basal) * tone)

    share = rng.uniform(*style.goblet)
    goblet_gland = np.clip(rng.normal(share, 0.15, int(anatomy.labels.max()) + 1), 0, 1)[anatomy.labels]
    band = (depth > style.rows + 5) & (anatomy.lumen < -1)
    cups = scatter(rng, band & (rng.random(shape) < 0.25 * goblet_gland**3), 11)
    size = rng.uniform(4.2, 6.6, len(cups))
    direction = anatomy.inward[cups[:, 0], cups[:, 1]]
    vacuoles = stamp_ellipses(shape, cups, direction, size * rng.uniform(1.0, 1.4, len(cups)), size * 0.92)
    mucin = 0.10 + 0.04 * smooth_noise(rng, shape, 4.0)
    dyes.paint(0.92 * vacuoles.cover(0.15) * (1 - 0.8 * vacuoles.seams()) * band, mucin, 0.6 * mucin + 0.03)

    surface = np.exp(-((anatomy.lumen + 1.0) ** 2) / 2.0)
    dyes.paint(0.25 * surface, 0.25, 0.55)
    layer = (depth > 2.5) & (depth < 2.5 + style.rows) & (anatomy.lumen < -3.5)
    if style.cribriform:  # stratified: sparser towards the lumen, of uneven depth
        uneven = style.rows * smooth_step(0.5 + 0.35 * smooth_noise(rng, shape, 30.0))
        layer &= rng.random(shape) < np.clip(1.2 - (depth - 4) / (4 + uneven), 0.01, 1)
    rows = scatter(rng, layer, style.spacing)
    direction = anatomy.inward[rows[:, 0], rows[:, 1]] + rng.normal(0, style.disorder, len(rows))
    _nuclei(rng, dyes, rows, direction, style.nucleus, rng.uniform(0.8, 1.1), style.vesicular)


def _nuclei(
    rng: np.random.Generator,
    dyes: Dyes,
    centres: NDArray[np.int64],
    direction: Field,
    size: tuple[float, float],
    strength: float,
    vesicular: float,
) -> None:
    """Paint nuclei: dark, a little darker at the rim, each with its own size and strength, mottled inside."""
    n = len(centres)
    if n == 0:
        return
    shape: Shape = (dyes.eosin.shape[0], dyes.eosin.shape[1])
    scale = rng.normal(1, 0.14, n).clip(0.6, 1.5)
    stamps: Stamps = stamp_ellipses(
        shape, centres, direction, size[0] * scale, size[1] * scale * rng.uniform(0.85, 1.15, n)
    )
    dark = strength * rng.normal(1, 0.18, n).clip(0.5, 1.5)[stamps.index]
    pale = 1 - (vesicular * rng.uniform(0.3, 1.3, n))[stamps.index] * smooth_step((0.85 - stamps.radius) / 0.5)
    mottled = 1 + 0.12 * smooth_noise(rng, shape, 1.6)
    dyes.paint(stamps.cover(), dark * pale * mottled, 0.30)


def _lumen(rng: np.random.Generator, anatomy: Anatomy, style: Style, dyes: Dyes) -> None:
    """Empty slide, some mucus, and in malignant glands pink secretion with dead cells."""
    shape = anatomy.labels.shape
    cover = smooth_step((anatomy.lumen + 0.5) / 1.5)
    n = int(anatomy.labels.max()) + 1
    mucus = smooth_step(0.5 * smooth_noise(rng, shape, 12.0) + rng.normal(0.1, 0.5, n)[anatomy.labels])
    wisps = 0.6 + 0.4 * smooth_noise(rng, shape, 3.0)
    dyes.paint(cover, 0.02 + 0.12 * mucus * wisps, 0.02 + 0.10 * mucus * wisps)
    dirty = np.where(rng.random(n) < style.cribriform, rng.uniform(0.4, 1.0, n), 0.0)[anatomy.labels]
    if not dirty.any():
        return
    secretion = dirty * smooth_step((anatomy.lumen - 4 + 3 * smooth_noise(rng, shape, 7.0)) / 3)
    dyes.paint(0.9 * secretion, 0.12, 0.35 + 0.12 * smooth_noise(rng, shape, 2.5))
    dead = scatter(rng, (secretion > 0.3) & (rng.random(shape) < 0.05), 6)
    _nuclei(rng, dyes, dead, rng.uniform(0, np.pi, len(dead)), (1.9, 1.5), 1.0, 0.0)
