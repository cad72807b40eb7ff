"""Small images and masks, written the way users' tools write them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

DATA = Path(os.environ.get("FRUGALSEG_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))

HEIGHT, WIDTH = 12, 16


def colours(seed: int = 0) -> NDArray[np.uint8]:
    """A colour image whose four corners differ."""
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def two_objects() -> NDArray[np.uint8]:
    """Labels 1 (12 pixels) and 2 (6 pixels), apart."""
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    labels[1:4, 1:5] = 1
    labels[6:9, 9:11] = 2
    return labels


def save(path: Path, pixels: NDArray[np.generic], **options: object) -> Path:
    """Write by Pillow, folders made where missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(pixels).save(path, **options)  # type: ignore[arg-type]
    return path


def real(*parts: str) -> Path:
    """A folder of the development data; the test is skipped where it is not there."""
    folder = DATA.joinpath(*parts)
    if not folder.is_dir():
        pytest.skip(f"development data not found: {folder} (set FRUGALSEG_DATA)")
    return folder
