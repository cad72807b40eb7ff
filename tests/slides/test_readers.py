"""What readers give, judged by whole reads of other libraries."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import tifffile
import zarr
from PIL import Image as Pillow

from frugalseg.errors import InputError
from frugalseg.images import read_image
from frugalseg.slides import ArraySlide, Level, Slide, is_slide, open_slide
from frugalseg.slides.openslide import OpenSlideSlide
from frugalseg.slides.tiff import TiffSlide

from .builders import picture, real_slide, refusal, whole, write_zarr
from .conftest import HEIGHT, PIXEL_UM, WIDTH

KINDS = ["aperio", "tiff", "ome-tiff", "ome-zarr"]


def judged(path: Path, kind: str, level: int) -> np.ndarray[Any, Any]:
    """A level as another library reads it whole."""
    if kind == "aperio":
        with openslide.OpenSlide(path) as slide:
            return np.asarray(slide.read_region((0, 0), level, slide.level_dimensions[level]).convert("RGB"))
    if kind == "ome-zarr":
        return np.moveaxis(np.asarray(zarr.open_group(path, mode="r")[str(level)]), 0, -1)
    with tifffile.TiffFile(path) as tiff:
        return tiff.series[0].levels[level].asarray()


@pytest.mark.parametrize("kind", KINDS)
def test_synthetic_slides_are_read_as_other_libraries_do(synthetic_slides: dict[str, Path], kind: str) -> None:
    path = synthetic_slides[kind]
    assert is_slide(path)
    with open_slide(path, here=True) as slide:
        assert [(level.width, level.height) for level in slide.levels] == [(WIDTH, HEIGHT), (WIDTH // 4, HEIGHT // 4)]
        assert slide.levels[0].downsample == 1.0
        assert slide.levels[1].downsample == pytest.approx(4.0, rel=0.01)
        assert slide.pixel_size_um == PIXEL_UM
        for level in range(2):
            assert np.array_equal(whole(slide, level), judged(path, kind, level))


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_gives_the_same(synthetic_slides: dict[str, Path], kind: str) -> None:
    path = synthetic_slides[kind]
    with open_slide(path) as far, open_slide(path, here=True) as near:
        assert (far.levels, far.pixel_size_um, far.path) == (near.levels, near.pixel_size_um, near.path)
        for box in ((0, 300, 200, 700, 500), (1, -3, -4, 100, 90), (0, WIDTH - 10, HEIGHT - 10, 40, 30)):
            assert np.array_equal(far.read_region(*box), near.read_region(*box))


def test_kinds_show_the_same_tissue(synthetic_slides: dict[str, Path]) -> None:
    pictures = {}
    for kind in KINDS:
        with open_slide(synthetic_slides[kind], here=True) as slide:
            pictures[kind] = whole(slide, 1).astype(int)
    for kind in KINDS:
        assert np.abs(pictures[kind] - pictures["ome-zarr"]).mean() < 4  # JPEG against none


def test_the_real_slide_as_two_libraries_read_it() -> None:
    path = real_slide()
    with openslide.OpenSlide(path) as judge:
        expected = np.asarray(judge.read_region((0, 0), 0, judge.dimensions).convert("RGB"))
    with open_slide(path, here=True) as slide, TiffSlide(path) as other:
        assert isinstance(slide, OpenSlideSlide)
        assert np.array_equal(whole(slide), expected)
        assert np.array_equal(whole(other), expected)  # JPEG tiles with common tables
        assert slide.pixel_size_um == other.pixel_size_um == 0.499
        assert slide.levels == other.levels


COMPRESSIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "deflate": {"compression": "zlib", "predictor": True},
    "lzw": {"compression": "lzw"},
    "zstd": {"compression": "zstd"},
    "packbits": {"compression": "packbits"},
    "lzma": {"compression": "lzma"},
    "jpeg 2000": {"compression": "jpeg2000"},
    "jpeg": {"compression": "jpeg"},
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "tiles": {"tile": (64, 48)},
    "strips": {"rowsperstrip": 7},
    "one strip": {"rowsperstrip": 10**6},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_compressions_and_layouts(tmp_path: Path, compression: str, layout: str) -> None:
    pixels = picture(150, 203)
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", **LAYOUTS[layout], **COMPRESSIONS[compression])
    expected = tifffile.imread(path)
    if compression not in ("jpeg", "jpeg 2000"):
        assert np.array_equal(expected, pixels)
    with open_slide(path, here=True) as slide:
        assert np.array_equal(whole(slide), expected)
        assert np.array_equal(slide.read_region(0, 41, 60, 100, 33), expected[60:93, 41:141])


@pytest.mark.parametrize("tile", [None, (32, 32)])
@pytest.mark.parametrize(
    ("name", "pixels", "options"),
    [
        ("grey", picture(50, 70)[..., 0], {}),
        ("white is zero", picture(50, 70)[..., 0], {"photometric": "miniswhite"}),
        ("alpha", np.dstack([picture(50, 70), picture(50, 70, 1)[..., :1]]), {"extrasamples": ["unassalpha"]}),
        ("planes", np.moveaxis(picture(50, 70), -1, 0), {"photometric": "rgb", "planarconfig": "separate"}),
        ("16 bits", picture(50, 70).astype(np.uint16) * 257, {"photometric": "rgb"}),
        ("12 bits", picture(50, 70).astype(np.uint16) * 16, {"photometric": "rgb"}),
        ("8 in 16 bits", picture(50, 70).astype(np.uint16), {"photometric": "rgb"}),
        ("big endian", picture(50, 70).astype(np.uint16) * 257, {"photometric": "rgb", "byteorder": ">"}),
        (
            "palette",
            picture(50, 70)[..., 0],
            {"photometric": "palette", "colormap": np.random.default_rng(0).integers(0, 256, (3, 256)) * 257},
        ),
    ],
)
def test_samples_become_colours_as_in_images(
    tmp_path: Path, name: str, pixels: np.ndarray[Any, Any], options: dict[str, Any], tile: tuple[int, int] | None
) -> None:
    path = tmp_path / f"{name}.tif"
    options = dict(options)
    if "colormap" in options:
        options["colormap"] = options["colormap"].astype(np.uint16)
    tifffile.imwrite(path, pixels, tile=tile, compression="zlib" if tile else None, **options)
    with open_slide(path, here=True) as slide:
        assert np.array_equal(whole(slide), read_image(path))


def test_channels_in_pages_of_their_own(tmp_path: Path) -> None:
    pixels = picture(60, 80)
    stack = np.zeros((2, 3, 60, 80), dtype=np.uint8)  # two depths; the first is shown
    stack[0] = np.moveaxis(pixels, -1, 0)
    path = tmp_path / "x.ome.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", tile=(32, 32), metadata={"axes": "ZCYX"})
    with open_slide(path, here=True) as slide:
        assert np.array_equal(whole(slide), pixels)
    two = tmp_path / "two.ome.tif"
    tifffile.imwrite(two, stack[:, :2], photometric="minisblack", metadata={"axes": "ZCYX"})
    assert "only grey and RGB can be read" in refusal(two)


def test_tiles_that_are_not_stored_are_white(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    tile = picture(64, 64)
    tiles = iter([b"", zlib.compress(tile.tobytes()), b"", b""])
    with tifffile.TiffWriter(path) as writer:
        writer.write(tiles, shape=(128, 128, 3), dtype="uint8", tile=(64, 64), photometric="rgb", compression="zlib")
    expected = np.full((128, 128, 3), 255, dtype=np.uint8)
    expected[:64, 64:] = tile
    with open_slide(path, here=True) as slide:
        assert np.array_equal(whole(slide), expected)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["cyx", "yx", "tczyx", "zyx", "tcyx"])
@pytest.mark.parametrize("sort", [np.uint8, np.uint16])
def test_ome_zarr_axes(tmp_path: Path, version: str, axes: str, sort: type[np.generic]) -> None:
    pixels = picture(90, 130)
    expected = pixels if "c" in axes else np.repeat(pixels[..., :1], 3, axis=2)
    samples = np.moveaxis(pixels, -1, 0) if "c" in axes else pixels[..., 0]
    samples = samples.astype(sort) * (257 if sort is np.uint16 else 1)
    for place, axis in enumerate(axes):
        if axis in "tz":  # a second time or depth, which is not shown
            samples = np.stack([samples, np.zeros_like(samples)], axis=place) if samples.ndim > place else samples
    levels = [samples, samples[..., ::2, ::2]]
    path = write_zarr(tmp_path / "x.zarr", levels, axes, version=version)
    assert is_slide(path)
    with open_slide(path, here=True) as slide:
        assert slide.pixel_size_um == 0.5
        assert len(slide.levels) == 2
        assert np.array_equal(whole(slide), expected)
        assert np.array_equal(slide.read_region(0, 60, -5, 100, 70)[5:, :70], expected[:65, 60:])


def test_channels_last_and_shards(tmp_path: Path) -> None:
    pixels = picture(128, 128)
    last = write_zarr(tmp_path / "last.zarr", [pixels], "yxc")
    shards = write_zarr(tmp_path / "shards.zarr", [np.moveaxis(pixels, -1, 0)], shards=(3, 128, 128))
    for path in (last, shards):
        with open_slide(path, here=True) as slide:
            assert np.array_equal(whole(slide), pixels)


@pytest.mark.parametrize("kind", ["array", *KINDS])
def test_beyond_the_edges_is_white(synthetic_slides: dict[str, Path], kind: str) -> None:
    slide: Slide = (
        ArraySlide(picture(40, 60), 0.5) if kind == "array" else open_slide(synthetic_slides[kind], here=True)
    )
    with slide:
        level = slide.levels[-1]
        n = len(slide.levels) - 1
        around = slide.read_region(n, -7, -9, level.width + 20, level.height + 30)
        assert np.array_equal(around[9 : 9 + level.height, 7 : 7 + level.width], whole(slide, n))
        assert (around[:9] == 255).all()
        assert (around[9 + level.height :] == 255).all()
        assert (around[:, :7] == 255).all()
        assert (around[:, 7 + level.width :] == 255).all()
        assert (slide.read_region(n, 10**7, 0, 3, 4) == 255).all()
        assert slide.read_region(n, 5, 5, 0, 4).shape == (4, 0, 3)
        with pytest.raises(ValueError, match="level 9"):
            slide.read_region(9, 0, 0, 1, 1)
        with pytest.raises(ValueError, match="-1"):
            slide.read_region(0, 0, 0, -1, 1)
        with pytest.raises(InputError, match="64 megapixels at most"):
            slide.read_region(0, 0, 0, 8001, 8000)


def test_an_array_is_not_handed_out(tmp_path: Path) -> None:
    pixels = picture(10, 10)
    before = pixels.copy()
    slide = ArraySlide(pixels, 0.5)
    slide.read_region(0, 0, 0, 10, 10)[:] = 0
    assert np.array_equal(pixels, before)
    with pytest.raises(ValueError, match="RGB image"):
        ArraySlide(pixels[..., 0])


@pytest.mark.parametrize("name", ["x.png", "x.jpg", "x.bmp"])
def test_pictures_that_are_decoded_whole(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Pillow.fromarray(picture(50, 70)).save(path, dpi=(12700, 12700))
    assert not is_slide(path)
    with open_slide(path) as slide:
        assert slide.levels == (Level(70, 50, 1.0),)
        assert slide.pixel_size_um == pytest.approx(2.0, rel=0.001)
        assert np.array_equal(whole(slide), read_image(path))
    path.write_bytes(path.read_bytes()[:-30])
    assert "is truncated" in refusal(path)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_strips_that_are_not_stored_are_white(tmp_path: Path, photometric: str) -> None:
    grey = np.full((40, 50), 90, np.uint8)
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, grey, photometric=photometric, rowsperstrip=10)
    with tifffile.TiffFile(path) as file:
        tags = [file.pages[0].aspage().tags[name] for name in ("StripByteCounts", "StripOffsets")]
    with tifffile.TiffFile(path, mode="r+") as file:
        for tag in tags:
            values = list(tag.value)
            values[1] = 0
            file.pages[0].aspage().tags[tag.name].overwrite(values)
    with TiffSlide(path) as slide:
        found = slide.read_region(0, 0, 0, 50, 40)
    assert (found[10:20] == 255).all()
    assert (found[:10] == (90 if photometric == "minisblack" else 165)).all()
    assert (found[20:] == found[0, 0]).all()


def test_what_is_a_slide(tmp_path: Path, synthetic_slides: dict[str, Path]) -> None:
    assert all(is_slide(path) for path in synthetic_slides.values())
    small = tmp_path / "small.tif"
    tifffile.imwrite(small, picture(50, 60), photometric="rgb", tile=(32, 32))
    assert not is_slide(small)
    large = tmp_path / "large.tif"
    with tifffile.TiffWriter(large) as writer:  # 604 megapixels, nothing stored
        writer.write(
            iter([b""] * 576),
            shape=(24576, 24576, 3),
            dtype="uint8",
            tile=(1024, 1024),
            compression="zlib",
            photometric="rgb",
        )
    assert is_slide(large)
    (tmp_path / "text.svs").write_text("no slide at all")
    assert is_slide(tmp_path / "text.svs")
    assert "is no slide" in refusal(tmp_path / "text.svs")
    (tmp_path / "text.tif").write_text("no slide at all")
    assert "is no image" in refusal(tmp_path / "text.tif")
    (tmp_path / "broken.tif").write_bytes(b"II*\x00\xff\xff\xff\x7f")
    for name in ("text.tif", "broken.tif", "missing.tif", "."):
        assert not is_slide(tmp_path / name)
    assert "no such file" in refusal(tmp_path / "missing.svs")
    assert "without an OME-Zarr" in refusal(tmp_path)


def test_what_is_missing_is_told_with_the_command_that_helps(synthetic_slides: dict[str, Path]) -> None:
    program = """
import sys
sys.modules["openslide"] = sys.modules["zarr"] = None
from pathlib import Path
from frugalseg.errors import ConfigError
from frugalseg.slides import open_slide
for path in sys.argv[1:]:
    try:
        open_slide(Path(path), here=True)
        print("read")
    except ConfigError as error:
        print(error)
"""
    paths = [str(synthetic_slides[kind]) for kind in KINDS]
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True)
    aperio, tiff, ome_tiff, ome_zarr = done.stdout.splitlines()
    assert tiff == ome_tiff == "read"
    assert "OpenSlide" in aperio
    assert "Zarr" in ome_zarr
    assert "pip install 'frugalseg[wsi]'" in aperio
    assert "pip install 'frugalseg[wsi]'" in ome_zarr
    assert importlib.util.find_spec("openslide")
