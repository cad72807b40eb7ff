"""One synthetic image of glands and its label map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from frugalseg.arrays import Image, LabelMap
from frugalseg.synthetic.layout import LAYOUTS, draw_labels
from frugalseg.synthetic.stain import develop, draw_stain
from frugalseg.synthetic.tissue import STYLES, stain_tissue

Kind = Literal["benign", "malignant"]

BENIGN_SHARE = 0.6
"""Share of benign images where the kind is left open."""

SMALLEST_SIDE_PX = 32


@dataclass(frozen=True)
class SyntheticImage:
    """An image with its truth.

    Attributes
    ----------
    image
        Shape (H, W, 3), RGB.
    labels
        Shape (H, W): 0 stroma, 1…n the glands, each with its lumen and epithelium; glands that touch differ.
    kind
        ``"benign"`` or ``"malignant"``.
    """

    image: Image
    labels: LabelMap
    kind: Kind


def synthetic_glands(
    seed: int,
    *,
    height: int = 384,
    width: int = 512,
    kind: Kind | None = None,
    stain_seed: int | None = None,
) -> SyntheticImage:
    """Image of colon glands that looks stained with haematoxylin and eosin, the same for the same arguments.

    Parameters
    ----------
    seed
        Not negative. Decides everything that the other arguments leave open.
    height, width
        Size in pixels, at least 32; glands are about 60 to 160 pixels across whatever the size.
    kind
        Regular ("benign") or crowded and irregular ("malignant") glands; None: 60 of 100 seeds give benign ones.
    stain_seed
        Slides with the same number share dyes, lamp and sharpness; None: a stain of the image's own.

    Returns
    -------
    SyntheticImage
        A small or unlucky field of view may hold no gland at all; its label map is then 0 everywhere.

    Raises
    ------
    ValueError
        A negative seed, a side below 32 pixels, or a kind that does not exist.

    Notes
    -----
    Same bytes on every run of one installation. Another processor or numpy may round the last bit of a float the
    other way, which can change single grey levels (tests allow 1 in block means).
    """
    if min(height, width) < SMALLEST_SIDE_PX:
        raise ValueError(f"height and width must be at least {SMALLEST_SIDE_PX}, got {height} and {width}")
    if kind is not None and kind not in STYLES:
        raise ValueError(f"kind must be one of {', '.join(STYLES)}, got {kind!r}")
    # One stream for each purpose, so that a change in one leaves the others as they are.
    chance, shapes, tissue, sensor, slide = (
        np.random.Generator(np.random.PCG64(sequence)) for sequence in np.random.SeedSequence(seed).spawn(5)
    )
    if kind is None:
        kind = "benign" if chance.random() < BENIGN_SHARE else "malignant"
    if stain_seed is not None:
        slide = np.random.Generator(np.random.PCG64(stain_seed))
    shape = (height, width)
    labels = draw_labels(shapes, LAYOUTS[kind](shapes, shape), shape)
    dyes = stain_tissue(tissue, labels, STYLES[kind])
    image = develop(sensor, draw_stain(slide), dyes.haematoxylin, dyes.eosin)
    return SyntheticImage(image, labels, kind)
