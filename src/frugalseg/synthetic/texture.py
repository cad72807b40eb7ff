"""Building blocks of pictures: smooth noise, scattered points, many small ellipses at once.

Everything is vectorised over the image, and every random number comes from the generator passed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from frugalseg.arrays import Mask

Field = NDArray[np.float64]
"""One real number for every pixel, shape (H, W)."""

Shape = tuple[int, int]

# Root mean square of the squared cubic B-spline weights in two dimensions: makes `smooth_noise` of unit variance.
_SPLINE_STD = 0.479

# Ellipses are drawn out to this multiple of their radius, for a soft edge.
_STAMP_EDGE = 1.3


def smooth_noise(rng: np.random.Generator, shape: Shape, period_px: float, stretch: float = 1.0) -> Field:
    """Noise of mean 0 and standard deviation 1, smooth over about `period_px` (times `stretch` along the columns)."""
    down = _spline_weights(shape[0], period_px)
    across = _spline_weights(shape[1], period_px * stretch)
    knots = rng.standard_normal((down.shape[1], across.shape[1]))
    return np.asarray(down @ knots @ across.T / _SPLINE_STD, dtype=np.float64)


def _spline_weights(n: int, period_px: float) -> Field:
    """Weights (n, knots) of uniform cubic B-splines with a knot every `period_px`."""
    position = np.arange(n) / period_px
    first = np.floor(position).astype(int)
    t = position - first
    weights = np.zeros((n, int(first[-1]) + 4))
    basis = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    for offset, values in enumerate(basis):
        weights[np.arange(n), first + offset] = values / 6
    return weights


def fibre_noise(rng: np.random.Generator, shape: Shape, angle: Field, width_px: float) -> Field:
    """Noise drawn out along wavy lines, whose direction is roughly `angle` (radians, one for every pixel).

    White noise, then line integral convolution (Cabral and Leedom 1993) along the direction field.
    """
    noise = smooth_noise(rng, shape, width_px)
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    down, across = np.sin(angle), np.cos(angle)
    total = np.zeros(shape)
    for step in (-16, -12, -8, -4, 0, 4, 8, 12, 16):
        y = np.clip(np.rint(rows + step * down), 0, shape[0] - 1).astype(int)
        x = np.clip(np.rint(columns + step * across), 0, shape[1] - 1).astype(int)
        total += noise[y, x]
    return total / 3.0


def scatter(rng: np.random.Generator, mask: Mask, spacing_px: int, passes: int = 2) -> NDArray[np.int64]:
    """Random pixels (N, 2) of `mask`, no two of one pass within half of `spacing_px`.

    The pixels whose random mark is the highest of their square (a Matérn hard-core process of the second kind); each
    further pass fills the gaps that the passes before it left.
    """
    free = mask.copy()
    found: list[NDArray[np.int64]] = []
    for _ in range(passes):
        marks = rng.random(mask.shape) * free
        chosen = free & (marks == ndimage.maximum_filter(marks, size=spacing_px))
        found.append(np.argwhere(chosen))
        free &= ~ndimage.maximum_filter(chosen, size=max(spacing_px - 1, 1))
    return np.concatenate(found)


@dataclass(frozen=True)
class Stamps:
    """Many ellipses drawn in one picture.

    Attributes
    ----------
    radius
        Shape (H, W): 0 at the centre of the nearest ellipse, 1 on its outline, ``inf`` far from all.
    index
        Shape (H, W): which ellipse that is; 0 where there is none, so only meaningful where `radius` is finite.
    """

    radius: Field
    index: NDArray[np.int64]

    def seams(self) -> Mask:
        """The pixels beside another ellipse: one pixel wide lines where ellipses meet."""
        differs = np.zeros(self.index.shape, dtype=bool)
        differs[:, 1:] |= self.index[:, 1:] != self.index[:, :-1]
        differs[1:] |= self.index[1:] != self.index[:-1]
        return differs & np.isfinite(self.radius)

    def cover(self, softness: float = 0.25) -> Field:
        """1 inside, 0 outside, a smooth step of width 2 · `softness` across the outline."""
        return smooth_step((1 + softness - self.radius) / (2 * softness))


def stamp_ellipses(
    shape: Shape, centres: NDArray[np.int64], angle: Field, half_length: Field, half_width: Field
) -> Stamps:
    """Draw N ellipses around `centres` (N, 2); the rest is (N,), `angle` the long axis' from the rows'."""
    squared = np.full(shape[0] * shape[1], np.inf)
    index = np.zeros(shape[0] * shape[1], dtype=np.int64)
    if len(centres):
        reach = int(np.ceil(_STAMP_EDGE * max(half_length.max(), half_width.max())))
        dy, dx = (axis.ravel().astype(np.float64) for axis in np.mgrid[-reach : reach + 1, -reach : reach + 1])
        # (x / a)² + (y / b)² as one product of coefficients (N, 3) and monomials (3, window).
        down, across = np.cos(angle), np.sin(angle)
        a, b = 1 / half_length**2, 1 / half_width**2
        coefficients = np.stack(
            [a * down**2 + b * across**2, a * across**2 + b * down**2, 2 * (a - b) * down * across], axis=1
        )
        values = coefficients @ np.stack([dy * dy, dx * dx, dy * dx])
        owner, offset = np.nonzero(values < _STAMP_EDGE**2)
        y = centres[owner, 0] + offset // (2 * reach + 1) - reach
        x = centres[owner, 1] + offset % (2 * reach + 1) - reach
        inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
        flat, values, owner = (y * shape[1] + x)[inside], values[owner, offset][inside], owner[inside]
        np.minimum.at(squared, flat, values)
        nearest = values == squared[flat]
        index[flat[nearest]] = owner[nearest]
    return Stamps(np.sqrt(squared).reshape(shape), index.reshape(shape))


def smooth_step(x: Field) -> Field:
    """0 below 0, 1 above 1, 3x² - 2x³ between."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)
