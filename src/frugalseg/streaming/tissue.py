"""Where a slide has tissue, seen from afar: glass is not segmented.

A pixel's absorbance is how far its darkest channel lies below the white of the slide, so that pale pink counts as much
as pale grey. Otsu's threshold divides glass from tissue where a slide has both; it is held between two limits, so that
glass alone gives none and tissue alone gives all. Black beside white is neither, but what a scanner or a program filled
up. A slide on a dark ground is all tissue: slower, never wrong.

References
----------
Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9 (1979).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from frugalseg.arrays import Image, Mask
from frugalseg.slides import Slide, SlideView
from frugalseg.stain import is_black

LEAST, MOST = 18, 45
"""Limits of the threshold, grey levels below white."""

COARSENESS = 16
"""Pixels of the network's scale for one of the mask's, along a side."""

MARGIN_PX = 64
"""By how much tissue is grown, at the network's scale: faint rims belong to it."""

_WHITE = (220, 255)
_BRIGHT = 200
"""Slides of which a hundredth is brighter than this in all colours are no dark field: what is black there is empty."""

_READ_PIXELS = 32 * 10**6


def tissue_mask(slide: Slide, factor: float, *, margin_px: int = MARGIN_PX) -> Mask:
    """Where to look, on a grid `COARSENESS` times coarser than the view of this factor, which it covers evenly.

    A slide without coarse levels is read once in full for it, piece by piece.
    """
    coarse = SlideView(slide, factor * COARSENESS)
    seen = np.empty((coarse.height, coarse.width, 3), dtype=np.uint8)
    rows = max(1, _READ_PIXELS // coarse.width)
    for top in range(0, coarse.height, rows):
        seen[top : top + rows] = coarse.read(0, top, coarse.width, min(rows, coarse.height - top))
    return tissue_of(seen, margin=math.ceil(margin_px / COARSENESS))


def tissue_of(image: Image, *, margin: int = 0) -> Mask:
    """Pixels of tissue, grown by `margin` pixels; nothing for glass alone."""
    lowest = image.min(axis=2)
    brightest = np.percentile(lowest, 99)
    if brightest > _BRIGHT:
        lowest = np.where(is_black(image), 255, lowest)
    white = int(np.clip(brightest, *_WHITE))
    absorbance: NDArray[np.int16] = np.maximum(white - lowest.astype(np.int16), 0)
    flat = absorbance.min() == absorbance.max()
    threshold = LEAST if flat else float(np.clip(threshold_otsu(absorbance), LEAST, MOST))
    mask = absorbance > threshold
    return np.asarray(ndimage.maximum_filter(mask, 2 * margin + 1) if margin else mask, dtype=bool)
