"""Colours of pictures, curves and pages: Okabe and Ito's, told apart by readers with any colour vision.

References
----------
Okabe and Ito, "Color universal design" (2008), jfly.uni-koeln.de/color.
"""

from __future__ import annotations

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, YELLOW, PURPLE = "#56B4E9", "#F0E442", "#CC79A7"

LINES = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
"""Lines of curves on white, in order of use."""

CONTOURS = (YELLOW, SKY, "#00E0A0", ORANGE, BLUE, VERMILION)
"""Outlines of objects: those that stand out on pink and purple tissue (the green is brightened for that).

No black or white among them: dashes of these two are the truth."""


def rgb(colour: str) -> tuple[int, int, int]:
    """``#RRGGBB`` as three numbers from 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
