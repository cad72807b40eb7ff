"""Images of any size through an engine: tiles, flips, scale, ensembles. The engine here is hand-made and exact."""

import numpy as np
import pytest
from scipy import ndimage

from frugalseg.instances import InstanceSettings
from frugalseg.segmentation import probability_map, resize_image, resize_labels, segment, to_full_size


class Darkness:
    """Engine that calls dark pixels foreground, after a small blur; its stride is 8."""

    stride = 8
    halo_px = 4

    def __init__(self, sharpness=6.0):
        self.sharpness = sharpness
        self.sizes = []

    def run(self, images):
        self.sizes.append(images.shape[2:])
        blurred = ndimage.uniform_filter(images.mean(axis=1), size=(1, 3, 3), mode="nearest")
        front = 1 / (1 + np.exp(self.sharpness * blurred))
        return np.stack([1 - front, front, np.zeros_like(front)], axis=1).astype(np.float32)


class Lopsided(Darkness):
    """Engine that sees an object in the left half of whatever it is given."""

    def run(self, images):
        result = super().run(images)
        result[:, 1] = 0
        result[:, 1, :, : images.shape[3] // 2] = 1
        result[:, 0] = 1 - result[:, 1]
        return result


def picture(height=93, width=131):
    image = np.full((height, width, 3), 220, dtype=np.uint8)
    yy, xx = np.mgrid[:height, :width]
    image[(yy - 40) ** 2 + (xx - 40) ** 2 < 22**2] = 30
    image[(yy - 55) ** 2 + (xx - 100) ** 2 < 18**2] = 30
    return image


def test_tiles_equal_the_whole():
    image = picture()
    whole = probability_map(Darkness(), image)
    engine = Darkness()
    tiled = probability_map(engine, image, core_px=24)
    assert len(engine.sizes) > 10
    assert whole.shape == (3, 93, 131)
    np.testing.assert_allclose(tiled, whole, atol=1e-6)


def test_too_small_a_halo_would_show():
    image = picture()
    tiled = probability_map(Darkness(), image, core_px=24, halo_px=0)
    assert np.abs(tiled - probability_map(Darkness(), image)).max() > 1e-3


def test_flips_are_averaged_and_turned_back():
    image = picture(64, 64)
    mean = probability_map(Lopsided(), image, tta=True)
    np.testing.assert_allclose(mean[1], 0.5)
    np.testing.assert_allclose(
        probability_map(Darkness(), image, tta=True), probability_map(Darkness(), image), atol=1e-6
    )


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.37, 1.6])
def test_objects_come_back_at_full_size_where_they_were(scale):
    image = picture()
    found = segment([Darkness(40.0)], image, scale=scale, settings=InstanceSettings())
    assert found.labels.shape == image.shape[:2]
    assert found.labels.max() == 2
    dark = image[..., 0] < 100
    overlap = ((found.labels > 0) & dark).sum()
    assert 2 * overlap / ((found.labels > 0).sum() + dark.sum()) > 0.93
    assert found.labels[40, 40] == 1
    assert found.labels[55, 100] == 2
    assert found.classes == {1: 0, 2: 0}
    assert all(0.5 < value <= 1 for value in found.confidences.values())


def test_an_ensemble_is_the_mean_of_its_members():
    image = picture()
    one, other = (segment([Darkness(s)], image, scale=1, settings=InstanceSettings()).probabilities for s in (2.0, 9.0))
    both = segment([Darkness(2.0), Darkness(9.0)], image, scale=1, settings=InstanceSettings()).probabilities
    np.testing.assert_allclose(both, (one + other) / 2, atol=1e-6)


def test_touching_objects_stay_apart_and_thin_ones_survive_enlargement():
    labels = np.zeros((12, 12), dtype=np.int32)
    labels[2:8, 2:6], labels[2:8, 6:10], labels[10, 2:9] = 1, 2, 3
    front = (labels > 0).astype(np.float32)
    front[10] *= 0.55  # interpolation takes a one-pixel line of this below the threshold nearly everywhere
    full = to_full_size(labels, np.stack([1 - front, front, 0 * front]), 36, 36, InstanceSettings())
    assert set(np.unique(full)) == {0, 1, 2, 3}
    assert full[15, 12] == 1
    assert full[15, 23] == 2


def test_one_pixel_images_work():
    found = segment([Darkness()], np.zeros((1, 1, 3), dtype=np.uint8), scale=0.5, settings=InstanceSettings())
    assert found.labels.shape == (1, 1)


def test_label_maps_are_resized_without_new_values():
    labels = np.array([[0, 7], [300, 7]], dtype=np.int32)
    assert resize_labels(labels, 4, 4).tolist() == [[0, 0, 7, 7], [0, 0, 7, 7], [300, 300, 7, 7], [300, 300, 7, 7]]
    assert resize_labels(resize_labels(labels, 6, 6), 2, 2).tolist() == labels.tolist()


def test_images_shrink_by_averaging():
    stripes = np.zeros((40, 40, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    assert abs(int(resize_image(stripes, 0.5)[10:30, 8:12].mean()) - 100) <= 15
