"""Names for the arrays that cross module borders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""Colour image, shape (H, W, 3), RGB, 0-255."""

LabelMap = NDArray[np.int32]
"""Objects of one image, shape (H, W): 0 background, 1…n objects, ``UNKNOWN`` (-1) not annotated."""

Mask = NDArray[np.bool_]
"""Yes or no for every pixel, shape (H, W)."""

ProbabilityMap = NDArray[np.float32]
"""What a network says, shape (C + 2, H, W): background, C classes (these C + 1 sum to 1), border (0-1)."""

UNKNOWN = -1
"""Value of label-map pixels nobody annotated: they count neither in losses nor in metrics."""
