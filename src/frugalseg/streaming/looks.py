"""How a slide looks and is stained: parts of its tissue stand for the whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from frugalseg.arrays import Image, Mask
from frugalseg.familiarity import Familiarity, appearance
from frugalseg.slides import SlideView
from frugalseg.stain import Stain, without_padding
from frugalseg.streaming.plan import CROP_PX, Rect, SlidePlan

N_CELLS = 64
"""At most so many tell how the slide is stained."""

MUCH_TISSUE = 0.25
"""Cells with so large a share of tissue are preferred."""

N_WINDOWS = 16
SIDE_PX = 384
"""Side of a window at the network's scale."""


def tissue_cells(view: SlideView, tissue: Mask) -> Iterator[Image]:
    """Cells of a grid over the whole slide, evenly over those with most tissue; none where there is none.

    Whatever region is segmented, and whether glass is, too: the slide has one stain.
    """
    down, across = tissue.shape[0] / view.height, tissue.shape[1] / view.width
    shares = {}
    for top in range(0, view.height, CROP_PX):
        rows = slice(math.floor(top * down), max(math.ceil(min(top + CROP_PX, view.height) * down), 1))
        for left in range(0, view.width, CROP_PX):
            columns = slice(math.floor(left * across), max(math.ceil(min(left + CROP_PX, view.width) * across), 1))
            share = float(tissue[rows, columns].mean())
            if share > 0:
                shares[top, left] = share
    least = min(MUCH_TISSUE, max(shares.values(), default=0))
    cells = [place for place, share in shares.items() if share >= least]
    for place in np.unique(np.linspace(0, len(cells) - 1, N_CELLS).astype(int)) if cells else ():
        top, left = cells[place]
        yield view.read(left, top, min(CROP_PX, view.width - left), min(CROP_PX, view.height - top))


def compare_with_training(
    view: SlideView, plan: SlidePlan, familiarity: Familiarity | None, stain: Stain | None = None
) -> dict[str, Any]:
    """`distance`, the median over windows in the middle of tiles, and `unlike`, what is different where it is above 1.

    Empty where the model does not know how its training images look, or there is no tissue.
    """
    if familiarity is None or not plan.tiles:
        return {}
    places = np.unique(np.linspace(0, len(plan.tiles) - 1, N_WINDOWS).astype(int))
    windows = [_middle(plan.kept_of(plan.tiles[place])) for place in places]
    seen = (view.read(box.left, box.top, box.width, box.height) for box in windows)
    looks = [appearance(without_padding(each, stain)) for each in seen]
    distances = [familiarity.distance(numbers) for numbers in looks]
    middle = int(np.argsort(distances, kind="stable")[len(distances) // 2])
    unlike = familiarity.difference(looks[middle]) if distances[middle] > 1 else ""
    return {"distance": round(distances[middle], 3), "unlike": unlike}


def _middle(box: Rect) -> Rect:
    width, height = min(SIDE_PX, box.width), min(SIDE_PX, box.height)
    left, top = box.left + (box.width - width) // 2, box.top + (box.height - height) // 2
    return Rect(left, top, left + width, top + height)
