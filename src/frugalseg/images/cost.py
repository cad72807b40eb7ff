"""What an annotation took."""

from __future__ import annotations

from skimage.measure import regionprops

from frugalseg.arrays import LabelMap


def outline_length(labels: LabelMap) -> float:
    """Length of all objects' outlines in pixels: about what an annotator's hand travels; 0 for none."""
    return float(sum(region.perimeter for region in regionprops(labels.clip(min=0))))
