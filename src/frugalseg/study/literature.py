"""Other people's figures on GlaS, and how sure they are; object F1, Dice and Hausdorff of test parts A and B."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """A row of somebody's table; `sure` says where it was read."""

    name: str
    f1: tuple[float, float]
    dice: tuple[float, float]
    hausdorff: tuple[float, float]
    sure: str


_AGREE = "two sources agree"

PAPER = Published(
    "Xu et al. 2018: QSA + QNT, INQ-7, 5 + 5 networks", (0.930, 0.862), (0.914, 0.859), (41.8, 97.4), _AGREE
)
PUBLISHED = (
    Published("DCAN (challenge winner), all images", (0.912, 0.716), (0.897, 0.781), (45.4, 160.3), _AGREE),
    Published("suggestive annotation 2017, all images", (0.921, 0.855), (0.904, 0.858), (44.7, 97.0), _AGREE),
    PAPER,
    Published("FullNet 2019", (0.924, 0.853), (0.914, 0.856), (37.3, 88.8), _AGREE),
    Published("SDT 2023", (0.931, 0.866), (0.919, 0.851), (32.3, 82.4), _AGREE),
    Published(
        "SAM-H fine-tuned 2025, 636 M weights", (0.932, 0.820), (0.917, 0.879), (42.4, 77.2), "notes on the paper"
    ),
    Published("the same with a grade prompt", (0.929, 0.841), (0.921, 0.881), (41.2, 74.3), "notes on the paper"),
    Published("DSE 2019", (0.926, 0.862), (0.927, 0.871), (31.2, 80.1), "from memory, not checked"),
    Published("nnU-Net v2 default, a third party's run", (0.774, 0.611), (0.872, 0.818), (67.3, 118.9), "one source"),
)
"""In the order of their years, nnU-Net last."""
