"""Synthetic H&E-like gland images with label maps: data for the demo, the tutorials and the tests.

The pictures are made, not copied: outlines by :mod:`.layout`, dyes by :mod:`.tissue`, colours by :mod:`.stain`.
They look enough like colon glands to exercise every step of the program; results on them say nothing about tissue.
"""

from __future__ import annotations

from frugalseg.synthetic.dataset import write_synthetic_dataset
from frugalseg.synthetic.glands import Kind, SyntheticImage, synthetic_glands

__all__ = ["Kind", "SyntheticImage", "synthetic_glands", "write_synthetic_dataset"]
