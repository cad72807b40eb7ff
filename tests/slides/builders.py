"""Slides to read, small, and the pixels they were made from."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray
from scipy import ndimage

from frugalseg.arrays import Image
from frugalseg.errors import InputError
from frugalseg.slides import Slide, open_slide

DATA = Path(os.environ.get("FRUGALSEG_DATA") or Path(__file__).parents[3] / "shared" / "data")
CMU = DATA / "wsi" / "cmu-1-small-region.svs"


def real_slide() -> Path:
    """The real slide; a test that asks is skipped where it is not at hand."""
    if not CMU.is_file():
        pytest.skip(f"no real slide in {DATA} (set FRUGALSEG_DATA)")
    return CMU


def picture(height: int, width: int, seed: int = 0) -> Image:
    """Smooth colours of full range."""
    rough = np.random.default_rng(seed).normal(size=(height, width, 3))
    smooth = ndimage.gaussian_filter(rough, (2, 2, 0), mode="wrap")
    return np.asarray(255 * (smooth - smooth.min()) / (smooth.max() - smooth.min()), dtype=np.uint8)


def write_zarr(
    folder: Path,
    levels: list[NDArray[Any]],
    axes: str = "cyx",
    *,
    version: str = "0.5",
    unit: str | None = "micrometer",
    scale: list[float] | None = None,
    **options: Any,
) -> Path:
    """An OME-Zarr folder of arrays whose dimensions are `axes`."""
    group = zarr.open_group(folder, mode="w", zarr_format=2 if version == "0.4" else 3)
    datasets = []
    for number, level in enumerate(levels):
        chunks = tuple(min(64, side) for side in level.shape)
        array = group.create_array(str(number), shape=level.shape, dtype=level.dtype, chunks=chunks, **options)
        array[...] = level
        steps = scale or [1.0 if axis in "tcz" else 0.5 for axis in axes]
        grown = [step * (2**number if axis in "yx" else 1) for step, axis in zip(steps, axes, strict=True)]
        datasets.append({"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": grown}]})
    kinds = {"t": "time", "c": "channel"}
    described = [
        {"name": axis, "type": kinds.get(axis, "space")} | ({"unit": unit} if unit and axis in "zyx" else {})
        for axis in axes
    ]
    multiscales = [{"version": version, "axes": described, "datasets": datasets}]
    if version == "0.4":
        group.attrs["multiscales"] = multiscales
    else:
        group.attrs["ome"] = {"version": version, "multiscales": multiscales}
    return folder


def edit_json(path: Path, *keys: str | int, value: Any) -> None:
    """Change one value deep in a JSON file."""
    document = json.loads(path.read_text())
    inner = document
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(document))


def retag(path: Path, code: int, value: Any, page: int = 0, dtype: str | None = None) -> None:
    """Overwrite a tag of a TIFF file."""
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[page].tags[code].overwrite(value, dtype=dtype)


def whole(slide: Slide, level: int = 0) -> Image:
    size = slide.levels[level]
    return slide.read_region(level, 0, 0, size.width, size.height)


def refusal(path: Path) -> str:
    """What is said of a file that must not be read: one line that names it."""
    with pytest.raises(InputError) as caught:
        read_all(path)
    said = str(caught.value)
    assert str(path) in said
    assert len(said.splitlines()) == 1
    return said


def read_all(path: Path) -> list[Image]:
    """Every level, whole, decoded in this process."""
    with open_slide(path, here=True) as slide:
        return [whole(slide, level) for level in range(len(slide.levels))]
