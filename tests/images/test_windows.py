"""Windows of large images."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frugalseg.images import Sample, cut_windows


def sample(height, width):
    return Sample("x", Path("x.png"), None, "all", size=(height, width))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(16, 120))
def test_windows_cover_every_pixel_and_stay_inside(height, width, side):
    covered = np.zeros((height, width), dtype=bool)
    windows = cut_windows([sample(height, width)], side)
    for each in windows:
        x, y, w, h = each.window or (0, 0, width, height)
        assert 0 <= x <= width - w
        assert 0 <= y <= height - h
        covered[y : y + h, x : x + w] = True
    assert covered.all()
    assert len({each.name for each in windows}) == len(windows)


def test_small_images_stay_whole():
    assert cut_windows([sample(700, 760)]) == [sample(700, 760)]
    assert [each.window for each in cut_windows([sample(512, 1024)])] == [(0, 0, 512, 512), (512, 0, 512, 512)]


def test_a_side_must_be_positive():
    with pytest.raises(ValueError, match="side"):
        cut_windows([sample(9, 9)], 0)
