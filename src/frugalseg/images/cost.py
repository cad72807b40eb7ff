"""What an annotation took."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def drawn(labels: NDArray[Any]) -> tuple[int, float]:
    """Objects of a label map and the length of their outlines in pixels, about what an annotator's hand travels.

    Only labels above 0 count; labels need not be consecutive. (0, 0.0) for none.
    """
    from skimage.measure import regionprops  # half a second, which commands that only look around shall not wait

    inside = labels > 0
    values, numbers = np.unique(labels[inside], return_inverse=True)
    compact = np.zeros(labels.shape, dtype=np.int32)
    compact[inside] = numbers + 1
    return len(values), float(sum(region.perimeter for region in regionprops(compact)))
