"""Views: as an image library resizes the whole, and without seams."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from frugalseg.arrays import Image
from frugalseg.errors import InputError
from frugalseg.slides import ArraySlide, Level, SlideView, open_slide
from frugalseg.slides.bounds import overlap

from .builders import picture, whole

PICTURE = picture(301, 407)


class Pyramid(ArraySlide):
    """A picture with further levels, counted reads, and no level at all but arrays."""

    def __init__(self, *arrays: Image) -> None:
        super().__init__(arrays[0])
        self.arrays = arrays
        self.read: list[tuple[int, int]] = []

    @property
    def levels(self) -> tuple[Level, ...]:
        width = self.arrays[0].shape[1]
        return tuple(Level(array.shape[1], array.shape[0], width / array.shape[1]) for array in self.arrays)

    def read_region(self, level: int, x: int, y: int, width: int, height: int) -> Image:
        self.read.append((level, width * height))
        region = np.full((height, width, 3), 255, dtype=np.uint8)
        inside = overlap(self.levels[level], x, y, width, height)
        if inside is not None:
            region[inside[1]] = self.arrays[level][inside[0]]
        return region


def seen(view: SlideView) -> Image:
    return view.read(0, 0, view.width, view.height)


@pytest.mark.parametrize("factor", [1.0, 1.3, 2.0, 2.48, 3.7, 8.0, 33.3, 0.5, 0.77])
def test_a_view_is_the_resized_picture(factor: float) -> None:
    view = SlideView(ArraySlide(PICTURE, 0.25), factor)
    judge = Pillow.fromarray(PICTURE).resize((view.width, view.height), Pillow.Resampling.BILINEAR)
    assert (view.width, view.height) == (max(1, round(407 / factor)), max(1, round(301 / factor)))
    assert np.abs(seen(view).astype(int) - np.asarray(judge)).max() <= 1
    assert view.pixel_size_um == 0.25 * factor


def test_a_view_of_the_same_size_is_a_copy() -> None:
    assert np.array_equal(seen(SlideView(ArraySlide(PICTURE), 1.0)), PICTURE)


def cuts(length: int) -> st.SearchStrategy[list[int]]:
    inner = st.lists(st.integers(1, max(1, length - 1)), max_size=4, unique=True)
    return inner.map(lambda found: sorted({0, length, *(at for at in found if at < length)}))


@settings(max_examples=150, deadline=None)
@given(st.data(), st.floats(0.4, 40.0), st.booleans())
def test_any_split_reads_as_the_whole(data: Any, factor: float, pyramid: bool) -> None:
    """The view's rectangle, and what lies beyond its edges, cut anywhere."""
    arrays = [PICTURE, PICTURE[::4, ::4][:75, :101]] if pyramid else [PICTURE]
    view = SlideView(Pyramid(*arrays), factor)
    x, y = data.draw(st.integers(-5, view.width)), data.draw(st.integers(-5, view.height))
    width, height = data.draw(st.integers(1, 130)), data.draw(st.integers(1, 130))
    expected = view.read(x, y, width, height)
    columns, rows = data.draw(cuts(width)), data.draw(cuts(height))
    joined = np.zeros_like(expected)
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            joined[top:bottom, left:right] = view.read(x + left, y + top, right - left, bottom - top)
    assert np.array_equal(joined, expected)


@pytest.mark.parametrize("kind", ["aperio", "tiff", "ome-zarr"])
def test_no_seams_in_files(synthetic_slides: dict[str, Path], kind: str) -> None:
    with open_slide(synthetic_slides[kind], here=True) as slide:
        for factor in (1.7, 5.3):
            view = SlideView(slide, factor)
            assert view.level == (0 if factor < 4 else 1)
            expected = seen(view)
            rng = np.random.default_rng(0)
            for _ in range(20):
                x, y = int(rng.integers(0, view.width - 50)), int(rng.integers(0, view.height - 50))
                assert np.array_equal(view.read(x, y, 50, 50), expected[y : y + 50, x : x + 50])


def test_the_coarsest_level_that_is_fine_enough() -> None:
    slide = Pyramid(picture(1601, 2003), picture(400, 500), picture(100, 125))
    levels = {factor: SlideView(slide, factor).level for factor in (0.5, 1, 3.9, 4.0, 4.01, 15.5, 16.0, 40.0)}
    assert levels == {0.5: 0, 1: 0, 3.9: 0, 4.0: 1, 4.01: 1, 15.5: 1, 16.0: 2, 40.0: 2}
    # 2003 / 4 is 501, the level has 500: its own pixels, unblurred
    assert np.array_equal(seen(SlideView(slide, 4.0))[:, :500], slide.arrays[1])


def test_little_is_in_memory() -> None:
    slide = Pyramid(np.broadcast_to(np.uint8(7), (9000, 9000, 3)))
    view = SlideView(slide, 30.0)
    assert (seen(view) == 7).all()
    assert max(n for _, n in slide.read) < 16e6
    assert sum(n for _, n in slide.read) < 2 * 81e6


def test_a_view_says_what_it_cannot_do(tmp_path: Path) -> None:
    slide = ArraySlide(PICTURE)
    for factor in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="must be positive"):
            SlideView(slide, factor)
    assert SlideView(slide, 2.0).pixel_size_um is None
    with pytest.raises(InputError, match="64 megapixels"):
        SlideView(slide, 0.01).read(0, 0, 20000, 20000)
    tiny = SlideView(slide, 10**6)
    assert (tiny.width, tiny.height) == (1, 1)
    mean = PICTURE.reshape(-1, 3).mean(axis=0)
    assert np.abs(seen(tiny)[0, 0] - mean).max() < 40
    assert whole(slide).shape == PICTURE.shape
