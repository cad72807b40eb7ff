"""How a slide looks and is stained: parts of its tissue stand for the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from frugalseg.arrays import Image
from frugalseg.familiarity import Familiarity, appearance
from frugalseg.slides import SlideView
from frugalseg.streaming.plan import CROP_PX, Rect, SlidePlan

N_CELLS = 64
"""At most so many tell how the slide is stained."""

N_WINDOWS = 16
SIDE_PX = 384
"""Side of a window at the network's scale."""


def tissue_cells(view: SlideView, plan: SlidePlan) -> Iterator[Image]:
    """Cells of a grid over the tiles' kept parts, evenly over all of them; none where there is no tissue."""
    cells = [
        Rect(left, top, min(left + CROP_PX, kept.right), min(top + CROP_PX, kept.bottom))
        for kept in plan.kept
        for top in range(kept.top, kept.bottom, CROP_PX)
        for left in range(kept.left, kept.right, CROP_PX)
    ]
    for place in np.unique(np.linspace(0, len(cells) - 1, N_CELLS).astype(int)) if cells else ():
        box = cells[place]
        yield view.read(box.left, box.top, box.width, box.height)


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
