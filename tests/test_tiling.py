"""Tiles cover an image exactly once, on the network's grid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frugalseg.tiling import pad, padded_size, tiles


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(0, 40), st.sampled_from([1, 4, 16, 32]))
def test_tiles_cover_every_pixel_once_and_read_around_it(height, width, core, halo, stride):
    height, width = padded_size(height, width, stride)
    covered = np.zeros((height, width), dtype=int)
    source = np.arange(height * width).reshape(height, width)
    for tile in tiles(height, width, core_px=core, halo_px=halo, stride=stride):
        covered[tile.write] += 1
        read = source[tile.read]
        assert (read[tile.keep] == source[tile.write]).all()
        for axis in (0, 1):
            first, last = tile.read[axis].start, tile.read[axis].stop
            assert first % stride == 0
            assert last % stride == 0
            # the halo is whole, or ends at the image's edge
            assert first == 0 or tile.write[axis].start - first >= halo
            assert last == (height, width)[axis] or last - tile.write[axis].stop >= halo
    assert (covered == 1).all()


def test_padding_repeats_the_edge_and_leaves_fitting_images_alone():
    image = np.arange(6).reshape(2, 3)
    padded = pad(image, 4)
    assert padded.shape == (4, 4)
    assert padded[3, 3] == 5
    assert padded[0, 3] == 2
    assert pad(padded, 4) is padded


def test_an_unpadded_image_is_refused():
    with pytest.raises(ValueError, match="not padded to multiples of 16"):
        next(tiles(20, 32, core_px=16, halo_px=0, stride=16))
