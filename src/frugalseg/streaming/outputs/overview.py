"""A picture of the whole slide with the outlines of what was found."""

from __future__ import annotations

import numpy as np

from frugalseg.atomic import write_bytes
from frugalseg.report import overlay
from frugalseg.report.pictures import encode_picture
from frugalseg.slides import SlideView
from frugalseg.streaming.label_tiles import level_sizes, window_labels
from frugalseg.streaming.outputs.findings import Findings
from frugalseg.streaming.plan import Rect

LARGEST_PX = 2000


def write_overview(found: Findings) -> None:
    """Write the frame as JPEG, no side above `LARGEST_PX`, at a power of two below the network's scale."""
    frame, sizes = found.plan.frame, level_sizes(found.plan)
    level = 0
    while max(frame.width, frame.height) >> level > LARGEST_PX and level < len(sizes) - 1:
        level += 1
    area = Rect(*(edge >> level for edge in (frame.left, frame.top)),
                *(-(-edge >> level) for edge in (frame.right, frame.bottom)))  # fmt: skip
    view = SlideView(found.slide, found.plan.steps[0] * 2**level)
    pixels = view.read(area.left, area.top, area.width, area.height)
    labels = window_labels(found.plan, found.labels, level, area).astype(np.int32)
    write_bytes(found.path, encode_picture(overlay(pixels, labels), largest_px=LARGEST_PX))
