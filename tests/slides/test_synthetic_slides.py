"""Synthetic slides: the same bytes every time, glands as large as real ones, any size in little memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import psutil
import pytest
import tifffile

from frugalseg.errors import InputError
from frugalseg.slides import SlideView, is_slide, open_slide
from frugalseg.synthetic import SlideKind, synthetic_glands, write_synthetic_slide
from frugalseg.synthetic.dataset import PIXEL_UM
from frugalseg.synthetic.mosaic import GLASS

from .builders import whole


def digest(path: Path) -> str:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    total = hashlib.sha256()
    for file in files:
        if file.is_file():
            total.update(str(file.relative_to(path)).encode() + file.read_bytes())
    return total.hexdigest()


@pytest.mark.parametrize("kind", ["aperio", "tiff", "ome-tiff", "ome-zarr"])
def test_same_arguments_same_bytes(tmp_path: Path, kind: SlideKind) -> None:
    digests = []
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        (tmp_path / folder).mkdir()
        write_synthetic_slide(tmp_path / folder / "x", 1500, 700, seed=seed, tissue=0.5, kind=kind)
        digests.append(digest(tmp_path / folder / "x"))
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_of_tissue(tmp_path: Path, share: float) -> None:
    path = tmp_path / "x.tif"
    write_synthetic_slide(path, 8192, 8192, seed=1, tissue=share, kind="tiff")
    with open_slide(path, here=True) as slide:
        assert [level.width for level in slide.levels] == [8192, 2048]
        coarse = whole(slide, 1).astype(int).reshape(8, 256, 8, 256, 3)
    glass = (np.abs(coarse - GLASS).max(axis=4) <= 2).mean(axis=(1, 3)) > 0.99
    assert (~glass).sum() == 64 * share


def test_glands_have_their_size(tmp_path: Path) -> None:
    """Seen at the pixel size of synthetic images, a slide has their colours and grain."""
    path = tmp_path / "x.svs"
    write_synthetic_slide(path, 2048, 2048, seed=1, tissue=1.0)
    with open_slide(path, here=True) as slide:
        assert slide.pixel_size_um is not None
        view = SlideView(slide, PIXEL_UM / slide.pixel_size_um)
        seen = view.read(0, 0, view.width, view.height).astype(float)
    drawn = np.concatenate([synthetic_glands(seed, height=284, width=284).image for seed in range(6)]).astype(float)
    assert abs(seen.mean() - drawn.mean()) < 25
    assert 0.5 < seen.std() / drawn.std() < 1.5


def test_pages_of_an_aperio_file(tmp_path: Path) -> None:
    path = tmp_path / "x.svs"
    write_synthetic_slide(path, 5000, 2500, seed=1)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.is_svs
        assert [page.shape for page in tiff.pages] == [(2500, 5000, 3), (512, 1024, 3), (625, 1250, 3)]
        assert "|AppMag = 40|MPP = 0.25" in tiff.pages.first.description
        assert [page.is_tiled for page in tiff.pages] == [True, False, True]


def test_small_and_impossible_ones(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"
    write_synthetic_slide(path, 1, 3, seed=0, kind="tiff")
    assert not is_slide(path)
    with open_slide(path, here=True) as slide:
        assert whole(slide).shape == (3, 1, 3)
    for arguments in ({"width": 0}, {"tissue": 1.1}, {"pixel_size_um": 0.0}):
        with pytest.raises(ValueError, match="pixels of"):
            write_synthetic_slide(path, **({"width": 5, "height": 5, "seed": 0} | arguments))  # type: ignore[arg-type]
    (tmp_path / "there.zarr").mkdir()
    with pytest.raises(InputError, match="exists already"):
        write_synthetic_slide(tmp_path / "there.zarr", 5, 5, seed=0, kind="ome-zarr")


@pytest.mark.slow
def test_as_large_as_real_ones(tmp_path: Path) -> None:
    """100,000 x 80,000 pixels, 24 GB when decoded, in some megabytes of file and memory."""
    path = tmp_path / "x.svs"
    write_synthetic_slide(tmp_path / "small.svs", 3000, 3000, seed=2, tissue=1.0)
    before = psutil.Process().memory_info().rss
    write_synthetic_slide(path, 100_000, 80_000, seed=2, tissue=0.1)
    assert psutil.Process().memory_info().rss - before < 150 * 2**20
    assert path.stat().st_size < 20e6
    with open_slide(path) as slide:
        assert [level.width for level in slide.levels] == [100_000, 25_000, 6_250, 1_562]
        coarse = whole(slide, 3).astype(int)
        tissue = np.abs(coarse - GLASS).max(axis=2) > 8
        assert 0.05 < tissue.mean() < 0.12
        y, x = np.argwhere(tissue)[len(np.argwhere(tissue)) // 2] * 64
        assert slide.read_region(0, int(x), int(y), 512, 512).std() > 10
