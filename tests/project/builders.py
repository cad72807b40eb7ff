"""Small projects and the folders they are made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from frugalseg.images import write_image, write_label_map
from frugalseg.project import Project

HEIGHT, WIDTH = 24, 32


def picture(seed: int) -> NDArray[np.uint8]:
    """A colour image, another one for each seed."""
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def write_slide(path: Path, pixels: NDArray[np.uint8], pixel_size_um: float = 0.5) -> Path:
    """A pyramid of two levels, of which the first is stored without loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {
        "tile": (64, 64),
        "compression": "zlib",
        "predictor": True,
        "photometric": "rgb",
        "resolutionunit": "CENTIMETER",
    }
    with tifffile.TiffWriter(path) as writer:
        writer.write(pixels, resolution=(1e4 / pixel_size_um,) * 2, **told)
        small = pixels[::2, ::2]
        writer.write(small, subfiletype=1, resolution=(5e3 / pixel_size_um,) * 2, **told)
    return path


def two_objects() -> NDArray[np.int32]:
    """Label 1 (4 x 5 pixels) and label 2 (3 x 3 pixels)."""
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.int32)
    labels[2:6, 3:8] = 1
    labels[10:13, 20:23] = 2
    return labels


def image_folder(folder: Path, *names: str, first_seed: int = 0) -> list[Path]:
    """PNG files of these names; the n-th has the seed `first_seed` + n."""
    paths = [folder / f"{name}.png" for name in names]
    for seed, path in enumerate(paths, first_seed):
        write_image(path, picture(seed), pixel_size_um=0.5)
    return paths


def glas_folder(folder: Path, n: int) -> Path:
    """GlaS' naming: train_1.png and train_1_anno.png, …"""
    image_folder(folder, *(f"train_{number}" for number in range(1, n + 1)))
    for number in range(1, n + 1):
        write_label_map(folder / f"train_{number}_anno.png", two_objects())
    return folder


def small_project(folder: Path, *names: str) -> Project:
    """A project in `folder`/project with images of these names."""
    project = Project.create(folder / "project")
    project.add_images(image_folder(folder / "data", *names))
    return project


def tree(folder: Path) -> dict[str, bytes]:
    """Contents of all files below a folder, the lock left out."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "project.lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
