"""Synthetic H&E-like gland images with label maps: data for the demo, the tutorials and the tests.

The pictures are made, not copied: outlines by :mod:`.layout`, dyes by :mod:`.tissue`, colours by :mod:`.stain`.
They look enough like colon glands to exercise every step of the program; results on them say nothing about tissue.
"""

from __future__ import annotations

from frugalseg.synthetic.dataset import write_synthetic_dataset
from frugalseg.synthetic.glands import Kind, SyntheticImage, synthetic_glands
from frugalseg.synthetic.slides import SlideKind, write_synthetic_slide

__all__ = [
    "Kind",
    "SlideKind",
    "SyntheticImage",
    "synthetic_glands",
    "write_synthetic_dataset",
    "write_synthetic_slide",
]
