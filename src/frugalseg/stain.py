"""An image's stain brought to the training images': how strongly its tissue absorbs red, green and blue light.

Laboratories dye more or less strongly, and scanners see the same dye otherwise. By Beer and Lambert's law both change
the optical density of a pixel by a factor for each colour, more or less; so the logarithms of the densities of an
image's tissue get the training images' mean and, within limits, their standard deviation. This is Reinhard's transfer
of colour on the logarithms of densities, each colour by itself: three curves over the 256 values, the same for every
pixel, so that tiles of a slide have no seams.

References
----------
Reinhard et al., "Color transfer between images", IEEE Computer Graphics and Applications 21 (2001); Ruifrok and
Johnston, "Quantification of histochemical staining by color deconvolution", Analytical and Quantitative Cytology and
Histology 23 (2001).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frugalseg.arrays import Image, Mask, ProbabilityMap

N_COLOURS = 3

GLASS = 0.12
"""Mean optical density (natural logarithm) over the colours, above that of the ground, up to which a pixel is glass."""

BRIGHTEST = 0.01
"""This share of the pixels, the brightest, tells the ground's density: a dim lamp makes glass grey."""

MOST_GROUND = 0.25
"""The ground is no denser than this (a grey of 198): images without glass would lose their pale tissue."""

DARK_GROUND = 2.0
"""Images of which a quarter is denser than this (darker than a grey of 34) are no bright field, and stay."""

BLACK = 12
"""Pixels of which no colour is brighter than this are empty where the rest is a bright field: no tissue absorbs so."""

MOST_DENSITY = 1.0
"""Half of what is not black is at least as bright as this (a grey of 93), or the ground is dark."""

LEAST_TISSUE = 0.01
"""Images with a smaller share of tissue are left as they are."""

MOST_FACTOR = 3.0
"""Densities change by this factor at most, up or down: an image that asks for more is no image of such tissue."""

MOST_POWER = 4 / 3
"""Contrasts of densities change by this power at most, up or down."""

LEAST_SPREAD = 0.01
"""Standard deviations below are taken for it: a flat image has no contrast to stretch."""

_DENSITY = -np.log((np.arange(256) + 1) / 256)
"""Optical density of each of the 256 values of a colour; that of white is 0."""

BIN = 0.01
"""Width of the bins of mean density that pixels are counted in."""

N_BINS = math.ceil(float(_DENSITY.max()) / BIN) + 1
_DENSITY_IN_BINS = (_DENSITY / (N_COLOURS * BIN)).astype(np.float32)
_BLOCK_PX = 2**20

_FAINT = 1e-3
_LOG_DENSITY = np.log(np.maximum(_DENSITY, _FAINT))

Curves = NDArray[np.uint8]
"""The new value of each value of each colour, shape (3, 256)."""


@dataclass(frozen=True)
class Stain:
    """How strongly tissue is stained.

    Attributes
    ----------
    level, spread
        Mean and standard deviation of the logarithm of the optical density over the pixels of tissue, of red, green and
        blue light.
    """

    level: tuple[float, ...]
    spread: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.level) != N_COLOURS or len(self.spread) != N_COLOURS:
            raise ValueError(f"a stain has {N_COLOURS} numbers of each kind")
        if not np.isfinite(self.level).all() or not np.isfinite(self.spread).all() or min(self.spread) <= 0:
            raise ValueError("a stain has a number that cannot be")

    def curves_from(self, own: Stain) -> Curves:
        """Curves that bring images of the stain `own` to this one, within the limits above."""
        curves = np.empty((N_COLOURS, 256), dtype=np.uint8)
        most = math.log(MOST_FACTOR)
        for colour in range(N_COLOURS):
            shift = np.clip(self.level[colour] - own.level[colour], -most, most)
            ratio = max(self.spread[colour], LEAST_SPREAD) / max(own.spread[colour], LEAST_SPREAD)
            power = np.clip(ratio, 1 / MOST_POWER, MOST_POWER)
            middle = own.level[colour]
            density = np.exp(middle + shift + power * (_LOG_DENSITY - middle))
            curves[colour] = np.clip(np.rint(256 * np.exp(-density) - 1), 0, 255)
        return curves


def curves_for(target: Stain | None, images: Iterable[Image]) -> Curves | None:
    """Curves that bring these images, or windows of one slide, to a stain; None where there is nothing to do.

    Black pixels do not count, unless the ground is dark.
    """
    if target is None:
        return None
    counts, n_black = _counted(images, ignore_black=True)
    if _is_dark(counts, n_black):
        return None
    own = _stain_of(counts)
    if own is not None:
        return target.curves_from(own)
    return np.tile(np.arange(256, dtype=np.uint8), (N_COLOURS, 1)) if n_black else None


def recolour(image: Image, curves: Curves | None) -> Image:
    """The image (…, 3) with its values replaced, and white where it is black; itself where there are no curves.

    Black is no tissue but padding: around cores of an array, of turned or stitched images, of a round field of view.
    """
    if curves is None:
        return image
    result = np.empty_like(image)
    for colour in range(N_COLOURS):
        np.take(curves[colour], image[..., colour], out=result[..., colour])
    result[is_black(image)] = 255
    return result


def without_padding(image: Image, target: Stain | None) -> Image:
    """The image with white in place of black padding, for a model with this stain; itself where nothing is padding."""
    if target is None or not (black := is_black(image)).any() or curves_for(target, [image]) is None:
        return image
    return np.where(black[..., None], np.uint8(255), image)


def clear_black(maps: ProbabilityMap, image: Image, curves: Curves | None) -> None:
    """Make probability maps (…, C + 2, H, W) background where the image (…, H, W, 3) that they are of is black.

    In place; nothing changes where there are no curves. `image` has its own colours.
    """
    if curves is None or not (black := is_black(image)).any():
        return
    for channel in range(maps.shape[-3]):
        maps[..., channel, :, :][black] = 1 if channel == 0 else 0


def is_black(image: Image) -> Mask:
    """Where an image (…, 3) is black."""
    return (image[..., 0] <= BLACK) & (image[..., 1] <= BLACK) & (image[..., 2] <= BLACK)


def measure_stain(images: Iterable[Image]) -> Stain | None:
    """The stain of the tissue in images (H, W, 3) of one preparation; None for hardly any tissue, or a dark ground."""
    counts, _ = _counted(images, ignore_black=False)
    return None if _is_dark(counts, 0) else _stain_of(counts)


Counts = NDArray[np.int64]
"""Pixels by colour, bin of mean density, and value of that colour; shape (3, N_BINS, 256)."""


def _is_dark(counts: Counts, n_black: int) -> bool:
    """Whether images have a dark ground, or no pixel at all; the counts are without `n_black` black ones."""
    whole = counts[0].sum(axis=1)
    n_pixels = int(whole.sum())
    if n_pixels == 0:
        return not n_black
    if _quantile(whole, 0.75) > DARK_GROUND:
        return True
    return n_black > 0.25 * (n_black + n_pixels) and _quantile(whole, 0.5) > MOST_DENSITY


def _quantile(whole: NDArray[np.int64], share: float) -> float:
    """The mean density up to which this share of the pixels lies."""
    return float(np.searchsorted(np.cumsum(whole) / whole.sum(), share)) * BIN


def _stain_of(counts: Counts) -> Stain | None:
    """The stain of what is denser than glass; None for hardly any."""
    whole = counts[0].sum(axis=1)
    if not whole.any():
        return None
    ground = min(_quantile(whole, BRIGHTEST), MOST_GROUND)
    tissue = counts[:, math.ceil(round((ground + GLASS) / BIN, 6)) :].sum(axis=1)
    n_tissue = int(tissue[0].sum())
    if n_tissue == 0 or n_tissue < LEAST_TISSUE * whole.sum():
        return None
    level = tissue @ _LOG_DENSITY / n_tissue
    variance = tissue @ np.square(_LOG_DENSITY) / n_tissue - np.square(level)
    spread = np.maximum(np.sqrt(np.maximum(variance, 0)), LEAST_SPREAD)
    return Stain(tuple(level.tolist()), tuple(spread.tolist()))


def _counted(images: Iterable[Image], *, ignore_black: bool) -> tuple[Counts, int]:
    """Counts of the values of each colour, by bins of the pixels' mean density, and how many pixels were left out."""
    counts: Counts = np.zeros((N_COLOURS, N_BINS, 256), dtype=np.int64)
    n_black = 0
    for image in images:
        rows = max(1, _BLOCK_PX // max(1, image.shape[1]))
        for top in range(0, image.shape[0], rows):
            pixels = image[top : top + rows].reshape(-1, N_COLOURS)
            if ignore_black and (black := is_black(pixels)).any():
                n_black += int(black.sum())
                pixels = pixels[~black]
            _count(pixels, counts)
    return counts, n_black


def _count(pixels: Image, counts: Counts) -> None:
    """Count pixels (N, 3)."""
    bins = sum(_DENSITY_IN_BINS[pixels[:, colour]] for colour in range(N_COLOURS))
    places = 256 * np.asarray(bins).astype(np.int32)
    for colour in range(N_COLOURS):
        found = np.bincount(places + pixels[:, colour], minlength=N_BINS * 256)
        counts[colour] += found.reshape(N_BINS, 256)


def mean_stain(stains: Sequence[Stain]) -> Stain | None:
    """The middle of the training images' stains; None where there are none."""
    if not stains:
        return None
    level = np.mean([stain.level for stain in stains], axis=0)
    spread = np.mean([stain.spread for stain in stains], axis=0)
    return Stain(tuple(level.tolist()), tuple(spread.tolist()))
