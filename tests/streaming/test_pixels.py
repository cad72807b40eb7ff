"""Cached squares give what the view gives."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from frugalseg.slides import ArraySlide, SlideView
from frugalseg.streaming.pixels import CachedView
from frugalseg.streaming.plan import Rect

IMAGE = np.random.default_rng(0).integers(0, 256, (1300, 1700, 3)).astype(np.uint8)
PLACE = st.integers(0, 900)


@settings(max_examples=25, deadline=None)
@given(
    factor=st.sampled_from([1.0, 1.3]),
    windows=st.lists(st.tuples(PLACE, PLACE, st.integers(1, 900), st.integers(1, 900)), min_size=1, max_size=5),
    cache_bytes=st.sampled_from([0, 10**6, 10**9]),
)  # fmt: skip
def test_reads_are_those_of_the_view(factor, windows, cache_bytes):
    view = SlideView(ArraySlide(IMAGE), factor)
    cached = CachedView(view, cache_bytes=cache_bytes)
    for x, y, width, height in windows:
        window = Rect(x, y, x + width, y + height).overlap(Rect(0, 0, view.width, view.height))
        np.testing.assert_array_equal(
            cached.read(window), view.read(window.left, window.top, window.width, window.height)
        )
