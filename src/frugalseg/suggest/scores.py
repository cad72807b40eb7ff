"""Numbers of one image from the probability maps that the members of an ensemble gave it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from frugalseg.arrays import ProbabilityMap


@dataclass(frozen=True, eq=False)
class ImageScores:
    """Means over an image's pixels, so that large images do not win by their size.

    Attributes
    ----------
    uncertainty
        Standard deviation of the foreground probability over the members (Yang et al., MICCAI 2017, sec. 2.2).
    entropy
        Of the mean class probabilities, in nats.
    bald
        Entropy of the mean less the mean entropy of the members: what they disagree about (Houlsby et al. 2011).
    foreground
        Share of pixels whose mean foreground probability exceeds one half.
    class_entropy
        Mean entropy over the pixels where each class is the likeliest, background first; 0 where there are none.
    uncertainty_map
        The standard deviation of every pixel, shape (H, W).
    """

    uncertainty: float
    entropy: float
    bald: float
    foreground: float
    class_entropy: NDArray[np.float64]
    uncertainty_map: NDArray[np.float32]


def score_maps(maps: Iterable[ProbabilityMap]) -> ImageScores:
    """Score one image; the members' maps come one by one and are not kept.

    Parameters
    ----------
    maps
        One map (C + 2, H, W) for each member, of equal shapes; the last channel, the border, does not count.

    Raises
    ------
    ValueError
        There is no map, or their shapes differ.
    """
    n = 0
    total: NDArray[np.float64] | None = None
    for each in maps:
        classes = each[:-1].astype(np.float64)
        front = 1.0 - classes[0]
        if total is None:
            total, squares, front_total = np.zeros_like(classes), np.zeros_like(front), np.zeros_like(front)
            own_entropy = 0.0
        if classes.shape != total.shape:
            raise ValueError(f"maps of shapes {classes.shape} and {total.shape} of one image")
        n += 1
        # Welford's way: no difference of large sums
        delta = front - front_total
        front_total += delta / n
        squares += delta * (front - front_total)
        total += classes
        own_entropy += float(_entropy(classes).mean())
    if total is None:
        raise ValueError("no map to score")
    mean = total / n
    deviation = np.sqrt(squares / n)
    entropy = _entropy(mean)
    likeliest = mean.argmax(axis=0)
    pixels = np.bincount(likeliest.ravel(), minlength=len(mean))
    sums = np.bincount(likeliest.ravel(), weights=entropy.ravel(), minlength=len(mean))
    return ImageScores(
        uncertainty=float(deviation.mean()),
        entropy=float(entropy.mean()),
        bald=max(0.0, float(entropy.mean()) - own_entropy / n),
        foreground=float((1.0 - mean[0] > 0.5).mean()),
        class_entropy=sums / np.maximum(pixels, 1),
        uncertainty_map=deviation.astype(np.float32),
    )


def _entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy over the first axis, in nats."""
    safe = np.clip(probabilities, 1e-12, 1.0)
    result: NDArray[np.float64] = -(safe * np.log(safe)).sum(axis=0)
    return result
