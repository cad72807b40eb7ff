"""Small data and a narrow network, so that whole trainings take a fraction of a second."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from frugalseg.images import write_image, write_label_map
from frugalseg.synthetic import write_synthetic_dataset
from frugalseg.train.config import TrainConfig

TINY = TrainConfig(
    net="unet", steps=6, patch_px=32, batch_size=2, threads=1, precision="fp32", image_scale=0.5, validation=0.25,
    validate_every=2, seed=1, device="cpu",
)  # fmt: skip


@pytest.fixture
def tiny() -> TrainConfig:
    """Settings of a training of six small steps, scored after every other one."""
    return TINY


@pytest.fixture(scope="session")
def glands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four synthetic images of two patients in GlaS' layout, for reading only."""
    folder = tmp_path_factory.mktemp("glands")
    write_synthetic_dataset(folder, 4, 0, 1, height=96, width=112)
    return folder


@pytest.fixture(scope="session")
def coloured_squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of red and blue squares on white, each colour with masks of its own, as classes."""
    root = tmp_path_factory.mktemp("squares")
    for index in range(3):
        rng = np.random.default_rng(index)
        image = np.full((64, 80, 3), 240, dtype=np.uint8)
        masks = {"blue": np.zeros((64, 80), np.int32), "red": np.zeros((64, 80), np.int32)}
        for position, (top, left) in enumerate([(4, 6), (4, 34), (4, 60), (36, 6), (36, 34), (36, 60)]):
            name = "red" if (position + index) % 2 else "blue"
            square = slice(top, top + 20), slice(left, left + 16)
            image[square] = (200, 40, 50) if name == "red" else (40, 60, 200)
            masks[name][square] = position + 1
        noisy = image + rng.integers(-8, 9, image.shape)
        write_image(root / "images" / f"s{index}.png", noisy.clip(0, 255).astype(np.uint8))
        for name, mask in masks.items():
            write_label_map(root / "masks" / name / f"s{index}.png", mask)
    return root


@pytest.fixture(scope="session")
def sha256() -> Callable[[Path], str]:
    """SHA-256 of a file's bytes."""
    return lambda path: hashlib.sha256(path.read_bytes()).hexdigest()
