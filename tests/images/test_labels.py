"""Label maps: read as stored, binary masks split, written without loss."""

import logging

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from frugalseg.errors import InputError
from frugalseg.images import read_image, read_label_map, write_image, write_label_map
from frugalseg.images.objects import is_binary, median_object_diameter, split_components

from .builders import HEIGHT, WIDTH, colours, save, two_objects


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_labels_as_stored(tmp_path, suffix):
    read = read_label_map(save(tmp_path / f"x{suffix}", two_objects()))
    assert read.dtype == np.int32
    np.testing.assert_array_equal(read, two_objects())


def test_palette_gives_indices_not_colours(tmp_path):
    image = Pillow.fromarray(two_objects(), mode="P")
    image.putpalette([0, 0, 0, 255, 255, 255, 255, 255, 255])  # both objects look white
    for name in ("x.bmp", "x.png"):
        image.save(tmp_path / name)
        np.testing.assert_array_equal(read_label_map(tmp_path / name), two_objects())


def test_palette_that_begins_with_white_is_read_by_its_colours(tmp_path):
    indices = np.where(two_objects() > 0, 0, 1).astype(np.uint8)  # white objects on black
    image = Pillow.fromarray(indices, mode="P")
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_label_map(tmp_path / "x.png"), two_objects())


@pytest.mark.parametrize("n_objects", [256, 300, 1000])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_more_than_255_objects(tmp_path, n_objects, suffix):
    labels = np.zeros((40, 40), np.uint16)
    labels.flat[: n_objects + 1] = np.arange(n_objects + 1)
    assert read_label_map(save(tmp_path / f"x{suffix}", labels)).max() == n_objects


@pytest.mark.parametrize(
    "stored",
    [
        (two_objects() > 0).astype(np.uint8),
        (two_objects() > 0).astype(np.uint8) * 255,
        two_objects() > 0,
        np.dstack([(two_objects() > 0).astype(np.uint8) * 255] * 3),
        np.dstack([*[(two_objects() > 0).astype(np.uint8) * 255] * 3, np.full((HEIGHT, WIDTH), 255, np.uint8)]),
        (two_objects() > 0).astype(np.uint8) * 7,  # a mask of GlaS' part B: one label for all glands
    ],
    ids=["01", "0255", "bits", "rgb", "rgba", "one-label"],
)
def test_binary_masks_become_components_with_a_warning(tmp_path, stored, caplog):
    with caplog.at_level(logging.WARNING):
        read = read_label_map(save(tmp_path / "x.png", stored))
    np.testing.assert_array_equal(read, two_objects())
    assert "2 connected components" in caplog.text
    assert "x.png" in caplog.text


def test_split_can_be_refused(tmp_path):
    path = save(tmp_path / "x.png", (two_objects() > 0).astype(np.uint8))
    assert read_label_map(path, split_binary=False).max() == 1


def test_one_object_in_one_piece_is_no_binary_mask(tmp_path, caplog):
    labels = np.where(two_objects() == 1, 1, 0).astype(np.uint8)
    np.testing.assert_array_equal(read_label_map(save(tmp_path / "x.png", labels)), labels)
    assert caplog.text == ""


def test_components_touching_at_a_corner_are_one():
    labels = np.array([[5, 0, 0], [0, 5, 0], [0, 0, 0]], np.int32)
    assert not is_binary(labels)
    assert split_components(labels)[1] == {1: 5}


def test_two_labels_are_never_merged_or_called_binary():
    labels = np.array([[1, 0, 1, 2]], np.int32)
    assert not is_binary(labels)


def test_split_keeps_unknown_pixels_and_tells_origin():
    labels = np.array([[3, 0, 3, -1, 8]], np.int32)
    split, origin = split_components(labels)
    assert split.tolist() == [[1, 0, 2, -1, 3]]
    assert origin == {1: 3, 2: 3, 3: 8}


@pytest.mark.parametrize("value", [0, 2, 255])
def test_ignore_value_is_unknown(tmp_path, value):
    stored = two_objects()
    stored[10:, :] = value
    read = read_label_map(save(tmp_path / "x.png", stored), ignore_value=value)
    np.testing.assert_array_equal(read == -1, stored == value)
    np.testing.assert_array_equal(read[read > 0], stored[(stored != value) & (stored > 0)])


def test_minus_one_may_be_the_ignore_value(tmp_path):
    stored = two_objects().astype(np.int32)
    stored[0] = -1
    tifffile.imwrite(tmp_path / "x.tif", stored)
    np.testing.assert_array_equal(read_label_map(tmp_path / "x.tif", ignore_value=-1), stored)
    with pytest.raises(InputError, match=r"negative labels \(lowest -1\)"):
        read_label_map(tmp_path / "x.tif")


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (np.ones((4, 4), np.float32), "floating-point labels"),
        (np.full((4, 4), 2**31, np.uint32), "label 2147483648"),
        (np.array([[0, 2**40]], np.uint64), "label 1099511627776"),
    ],
)
def test_labels_that_cannot_be(tmp_path, stored, reason):
    tifffile.imwrite(tmp_path / "x.tif", stored)
    with pytest.raises(InputError, match=reason):
        read_label_map(tmp_path / "x.tif")


def test_colour_pictures_and_jpegs_are_no_labels(tmp_path):
    with pytest.raises(InputError, match="colour image"):
        read_label_map(save(tmp_path / "x.png", colours()))
    with pytest.raises(InputError, match="JPEG"):
        read_label_map(save(tmp_path / "x.jpg", two_objects()))


@settings(max_examples=40, deadline=None)
@given(top=st.sampled_from([1, 255, 256, 65535, 65536, 2**31 - 1]), seed=st.integers(0, 99), tiff=st.booleans())
def test_written_label_maps_come_back(tmp_path_factory, top, seed, tiff):
    path = tmp_path_factory.mktemp("w") / ("x.tif" if tiff else "x.png")
    labels = np.random.default_rng(seed).integers(0, top, (7, 5), endpoint=True, dtype=np.int32)
    labels[0, 0] = top
    if not tiff and top > 65535:
        with pytest.raises(InputError, match="PNG"):
            write_label_map(path, labels)
        assert list(path.parent.iterdir()) == []
        return
    write_label_map(path, labels)
    np.testing.assert_array_equal(read_label_map(path, split_binary=False), labels)
    stored = tifffile.imread(path) if tiff else np.asarray(Pillow.open(path))
    assert stored.dtype == (np.uint16 if top <= 65535 else np.uint32)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_writers_refuse_what_they_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match="negative"):
        write_label_map(tmp_path / "x.png", np.full((2, 2), -1))
    with pytest.raises(ValueError, match="integers"):
        write_label_map(tmp_path / "x.png", np.zeros((2, 2)))
    with pytest.raises(InputError, match=r"\.png, \.tif"):
        write_label_map(tmp_path / "x.jpg", two_objects())
    with pytest.raises(InputError, match=r"\.png"):
        write_image(tmp_path / "x.jpg", colours())
    assert list(tmp_path.iterdir()) == []


def test_written_images_come_back(tmp_path):
    write_image(tmp_path / "deep" / "x.png", colours())
    np.testing.assert_array_equal(read_image(tmp_path / "deep" / "x.png"), colours())


def test_median_diameter_counts_each_object_once():
    first = np.zeros((20, 20), np.int32)
    first[:2, :2], first[5:15, 5:15] = 4, 9
    second = np.zeros((20, 20), np.int32)
    second[:3, :3] = 1
    second[10:] = -1
    assert median_object_diameter([first, second]) == pytest.approx(2 * np.sqrt(9 / np.pi))
    assert np.isnan(median_object_diameter([np.zeros((3, 3), np.int32)]))
    assert np.isnan(median_object_diameter([]))
