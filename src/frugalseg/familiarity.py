"""Whether an image looks like those that a network was trained on: colours, contrast and detail, against theirs.

A network says nothing sensible about images unlike its training images, and does not know it. Ten numbers of an image
are compared with those of the training images by a Mahalanobis distance (as Lee et al., NeurIPS 2018, arXiv 1807.03888,
do with a network's features; these here need no network).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from frugalseg.arrays import Image

Appearance = NDArray[np.float64]
"""Ten numbers of an image, see :func:`appearance`."""

N_FEATURES = 10
N_COLOURS = 3
DETAIL_PX = (1, 2, 4, 8)
"""Standard deviations of the Gaussians whose differences tell how much detail there is of each size."""

MIN_IMAGES = 8
"""Fewer training images do not tell what is usual."""

SHRINKAGE = 2.0
"""Over the number of training images: how far correlations are drawn towards 0, so that few give a usable inverse."""

PIECE_PX = 512
"""Of images above :data:`WHOLE_PX` pixels, windows of this side stand for the whole."""

PIECES = 4
"""So many windows along each side."""

WHOLE_PX = 4 * 2**20

_LEAST = np.array([*[0.02] * N_COLOURS, *[0.1] * (N_FEATURES - N_COLOURS)])
"""Least spread over training images: equal ones would make everything else strange."""


@dataclass(frozen=True)
class Familiarity:
    """How the training images look.

    Attributes
    ----------
    mean, spread
        Of each number of :func:`appearance` over the training images, ten values each.
    precision
        Inverse of the correlation matrix, 10 x 10.
    threshold
        The largest distance of a training image from all the others: what lies further away looks unlike them.
    """

    mean: tuple[float, ...]
    spread: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    threshold: float

    def __post_init__(self) -> None:
        rows = (self.mean, self.spread, *self.precision)
        if len(rows) != N_FEATURES + 2 or any(len(row) != N_FEATURES for row in rows):
            raise ValueError(f"familiarity needs {N_FEATURES} numbers of each kind")
        if not np.isfinite(np.array(rows)).all() or min(self.spread) <= 0 or not 0 < self.threshold < np.inf:
            raise ValueError("familiarity has a number that cannot be")

    def distance(self, numbers: Appearance) -> float:
        """Distance from the training images in units of the threshold: above 1 the image looks unlike them."""
        z = self._deviations(numbers)
        return float(np.sqrt(max(0.0, z @ np.array(self.precision) @ z) / N_FEATURES) / self.threshold)

    def difference(self, numbers: Appearance) -> str:
        """In words, what makes an image different: the groups of numbers that contribute most to the distance."""
        z = self._deviations(numbers)
        parts = z * (np.array(self.precision) @ z)
        groups = {
            _colour(z[:N_COLOURS]): float(parts[:N_COLOURS].sum()),
            _more_or_less(z[N_COLOURS : 2 * N_COLOURS], "contrast"): float(parts[N_COLOURS : 2 * N_COLOURS].sum()),
            _more_or_less(z[2 * N_COLOURS :], "fine detail"): float(parts[2 * N_COLOURS :].sum()),
        }
        most = max(groups.values())
        return ", ".join(name for name, part in sorted(groups.items(), key=lambda item: -item[1]) if part >= most / 3)

    def _deviations(self, numbers: Appearance) -> Appearance:
        return (np.asarray(numbers, dtype=np.float64) - self.mean) / self.spread


def appearance(image: Image) -> Appearance:
    """Ten numbers of an image (H, W, 3) at the network's scale.

    Mean optical density of red, green and blue light; the logarithm of its standard deviation in each; the logarithm of
    the detail of 1, 2, 4 and 8 pixels (standard deviation of differences of Gaussians of the mean density).
    """
    n, total, squares = 0, np.zeros(N_COLOURS), np.zeros(N_COLOURS)
    details = np.zeros(len(DETAIL_PX))
    for piece in _pieces(image):
        density = -np.log((piece.astype(np.float32) + 1) / 256)
        n += density.shape[0] * density.shape[1]
        total += density.sum(axis=(0, 1), dtype=np.float64)
        squares += np.square(density).sum(axis=(0, 1), dtype=np.float64)
        finer = density.mean(axis=2)
        for place, sigma in enumerate(DETAIL_PX):
            coarser = ndimage.gaussian_filter(finer, np.sqrt(sigma**2 - (sigma / 2 if place else 0) ** 2))
            details[place] += np.square(finer - coarser).sum(dtype=np.float64)
            finer = coarser
    mean = total / n
    deviation = np.sqrt(np.maximum(squares / n - mean**2, 0))
    return np.concatenate([mean, np.log(deviation + 0.01), np.log(np.sqrt(details / n) + 0.001)])


def learn_familiarity(rows: Sequence[Appearance]) -> Familiarity | None:
    """How the training images look, from :func:`appearance` of each; None below :data:`MIN_IMAGES` images.

    The threshold is the largest distance that an image has from all others, and at least 1: training images that are
    nearly one are no reason to find everything else strange.
    """
    if len(rows) < MIN_IMAGES:
        return None
    table = np.asarray(rows, dtype=np.float64)
    away = [_fit(np.delete(table, index, axis=0), 1.0).distance(row) for index, row in enumerate(table)]
    return _fit(table, max(*away, 1.0))


def _fit(table: NDArray[np.float64], threshold: float) -> Familiarity:
    mean, spread = table.mean(axis=0), np.maximum(table.std(axis=0), _LEAST)
    z = (table - mean) / spread
    drawn = SHRINKAGE / len(z)
    correlation = (1 - drawn) * (z.T @ z) / len(z) + drawn * np.eye(N_FEATURES)
    precision = np.linalg.inv(correlation)
    return Familiarity(
        tuple(mean.tolist()), tuple(spread.tolist()), tuple(tuple(row) for row in precision.tolist()), float(threshold)
    )


def _pieces(image: Image) -> Iterator[Image]:
    """The image, or windows evenly over it."""
    height, width = image.shape[:2]
    if height * width <= WHOLE_PX:
        yield image
        return
    for top in _places(height):
        for left in _places(width):
            yield image[top : top + PIECE_PX, left : left + PIECE_PX]


def _places(side: int) -> list[int]:
    return sorted({int(place) for place in np.linspace(0, max(0, side - PIECE_PX), PIECES)})


def _colour(z: Appearance) -> str:
    if (z > 0).all():
        return "darker"
    return "paler" if (z < 0).all() else "other colours"


def _more_or_less(z: Appearance, what: str) -> str:
    return f"{'more' if z.mean() > 0 else 'less'} {what}"
