"""Whether a slide looks like the training images: windows of its tissue, as large as those, are compared with them."""

from __future__ import annotations

from typing import Any

import numpy as np

from frugalseg.familiarity import Familiarity, appearance
from frugalseg.slides import SlideView
from frugalseg.streaming.plan import Rect, SlidePlan

N_WINDOWS = 16
SIDE_PX = 384
"""Side of a window at the network's scale."""


def compare_with_training(view: SlideView, plan: SlidePlan, familiarity: Familiarity | None) -> dict[str, Any]:
    """`distance`, the median over windows in the middle of tiles, and `unlike`, what is different where it is above 1.

    Empty where the model does not know how its training images look, or there is no tissue.
    """
    if familiarity is None or not plan.tiles:
        return {}
    places = np.unique(np.linspace(0, len(plan.tiles) - 1, N_WINDOWS).astype(int))
    windows = [_middle(plan.kept_of(plan.tiles[place])) for place in places]
    looks = [appearance(view.read(box.left, box.top, box.width, box.height)) for box in windows]
    distances = [familiarity.distance(numbers) for numbers in looks]
    middle = int(np.argsort(distances, kind="stable")[len(distances) // 2])
    unlike = familiarity.difference(looks[middle]) if distances[middle] > 1 else ""
    return {"distance": round(distances[middle], 3), "unlike": unlike}


def _middle(box: Rect) -> Rect:
    width, height = min(SIDE_PX, box.width), min(SIDE_PX, box.height)
    left, top = box.left + (box.width - width) // 2, box.top + (box.height - height) // 2
    return Rect(left, top, left + width, top + height)
