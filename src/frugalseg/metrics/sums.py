"""Pooled figures of many samples of images at once, from sums: for intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from frugalseg.metrics.scores import ImageScores

Floats = NDArray[np.float64]

N_DRAWS = 1000
LEVEL = 0.95


def pooled(totals: Floats, figure: str) -> Floats:
    """A figure from sums of ``ImageScores.as_list`` over images (…, K), as :func:`frugalseg.metrics.pool` gives it.

    Raises
    ------
    ValueError
        Not one of object_f1, object_dice, object_hausdorff.
    """
    n_pred, area_pred, dice_pred, far_pred, n_truth, area_truth, dice_truth, far_truth, hits = np.moveaxis(
        totals[..., :9], -1, 0
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        if figure == "object_f1":
            return np.where(n_pred + n_truth > 0, 2 * hits / (n_pred + n_truth), 1.0)
        if figure == "object_dice":
            sides = [np.where(area > 0, dice / area, 0.0) for dice, area in
                     ((dice_pred, area_pred), (dice_truth, area_truth))]  # fmt: skip
            return np.where(n_pred + n_truth > 0, (sides[0] + sides[1]) / 2, 1.0)
        if figure == "object_hausdorff":
            terms = np.stack([far_pred / area_pred, far_truth / area_truth])
            found = np.isfinite(terms)
            return np.asarray(np.where(found, terms, 0).sum(axis=0) / np.maximum(found.sum(axis=0), 1))
    raise ValueError(f"no figure {figure!r}")


def interval(images: Sequence[ImageScores], figure: str = "object_dice", *, seed: int = 0) -> tuple[float, float]:
    """Ends of the 95 % interval of a pooled figure: images are drawn again with replacement (Efron 1979).

    NaN for fewer than two images, of which nothing can be said.
    """
    if len(images) < 2:
        return float("nan"), float("nan")
    scores = np.array([image.as_list() for image in images])
    times = np.random.default_rng(seed).multinomial(len(images), np.full(len(images), 1 / len(images)), size=N_DRAWS)
    low, high = np.quantile(pooled(times @ scores, figure), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
