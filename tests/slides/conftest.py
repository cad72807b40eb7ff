"""Synthetic slides of all kinds, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from frugalseg.synthetic import SlideKind, write_synthetic_slide

NAMES: dict[SlideKind, str] = {
    "aperio": "slide.svs",
    "tiff": "slide.tif",
    "ome-tiff": "slide.ome.tif",
    "ome-zarr": "slide.zarr",
}
WIDTH, HEIGHT, PIXEL_UM = 2403, 2101, 0.25


@pytest.fixture(scope="session")
def synthetic_slides(tmp_path_factory: pytest.TempPathFactory) -> dict[SlideKind, Path]:
    folder = tmp_path_factory.mktemp("slides")
    for kind, name in NAMES.items():
        write_synthetic_slide(folder / name, WIDTH, HEIGHT, seed=5, tissue=0.5, kind=kind)
    return {kind: folder / name for kind, name in NAMES.items()}
