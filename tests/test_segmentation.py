"""Images of any size through an engine: tiles, flips, scale, ensembles. The engine here sees darkness."""

import numpy as np
import pytest

from frugalseg.engines.testing import DarknessEngine
from frugalseg.instances import InstanceSettings
from frugalseg.segmentation import (
    mean_map,
    network_image,
    objects_of,
    probability_map,
    resize_image,
    resize_labels,
    segment,
    to_full_size,
)
from frugalseg.stain import measure_stain


class Lopsided(DarknessEngine):
    """Engine that sees an object in the left half of whatever it is given."""

    def run(self, images):
        result = super().run(images)
        result[:, 1] = 0
        result[:, 1, :, : images.shape[2] // 2] = 1
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
    whole = probability_map(DarknessEngine(), image)
    engine = DarknessEngine()
    tiled = probability_map(engine, image, core_px=24)
    assert len(engine.sizes) > 10
    assert whole.shape == (3, 93, 131)
    np.testing.assert_allclose(tiled, whole, atol=1e-6)


def test_too_small_a_halo_would_show():
    image = picture()
    tiled = probability_map(DarknessEngine(), image, core_px=24, halo_px=0)
    assert np.abs(tiled - probability_map(DarknessEngine(), image)).max() > 1e-3


def test_turns_are_averaged_and_turned_back():
    image = picture(64, 64)
    mean = probability_map(Lopsided(), image, tta=True)
    np.testing.assert_allclose(mean[1], 0.5)
    np.testing.assert_allclose(
        probability_map(DarknessEngine(), image, tta=True), probability_map(DarknessEngine(), image), atol=1e-6
    )


def test_all_eight_turns_differ_and_come_back():
    class Corner(DarknessEngine):
        """Sees an object in one eighth of its input: left of the diagonal, top left."""

        def run(self, images):
            result = np.zeros((1, 3, *images.shape[1:3]), dtype=np.float32)
            rows, columns = np.mgrid[: images.shape[1], : images.shape[2]]
            result[0, 1] = (rows < images.shape[1] // 2) & (columns < rows)
            return result

    mean = probability_map(Corner(), picture(64, 64), tta=True)[1]
    off_diagonal = ~(np.eye(64, dtype=bool) | np.eye(64, dtype=bool)[:, ::-1])
    np.testing.assert_allclose(mean[off_diagonal], 1 / 8)
    np.testing.assert_allclose(mean[~off_diagonal], 0)


def test_tta_also_averages_over_scales():
    image = picture(160, 160)
    engine = DarknessEngine(40.0)
    found = segment([engine], image, scale=0.5, settings=InstanceSettings(), tta=True)
    assert sorted(set(engine.sizes)) == [(64, 64), (80, 80), (96, 96)]
    assert len(engine.sizes) == 24
    assert found.probabilities.shape == (3, 80, 80)
    plain = segment([engine], image, scale=0.5, settings=InstanceSettings())
    assert found.labels.max() == plain.labels.max() == 2
    assert ((found.labels > 0) == (plain.labels > 0)).mean() > 0.98


@pytest.mark.parametrize("tta", [False, True])
def test_an_image_of_another_stain_is_seen_in_the_training_images(tta):
    """Darkness is all that this engine sees: pale dye hides every object from it, until the stain is brought back."""
    image = np.where(picture() > 100, 245, 70).astype(np.uint8)
    pale = (255 * (image / 255) ** 0.5).round().astype(np.uint8)
    stain = measure_stain([image])
    rules = InstanceSettings(min_area=20)
    engine = DarknessEngine()
    assert segment([engine], pale, scale=1.0, settings=rules, tta=tta).labels.max() == 0
    found = segment([engine], pale, scale=1.0, settings=rules, stain=stain, tta=tta)
    assert found.labels.max() == 2
    seen = mean_map([engine], image, 1.0, tta)
    np.testing.assert_allclose(mean_map([engine], pale, 1.0, tta, stain), seen, atol=0.05)
    assert np.abs(mean_map([engine], pale, 1.0, tta) - seen).max() > 0.3


def test_stain_is_measured_at_the_scale_of_the_network():
    image = picture()
    stain = measure_stain([resize_image(image, 0.5)])
    assert np.array_equal(network_image(image, 0.5, stain), resize_image(image, 0.5))
    assert np.array_equal(network_image(image, 0.5, None), resize_image(image, 0.5))


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.37, 1.6])
def test_objects_come_back_at_full_size_where_they_were(scale):
    image = picture()
    found = segment([DarknessEngine(40.0)], image, scale=scale, settings=InstanceSettings())
    assert found.labels.shape == image.shape[:2]
    assert found.labels.max() == 2
    dark = image[..., 0] < 100
    overlap = ((found.labels > 0) & dark).sum()
    assert 2 * overlap / ((found.labels > 0).sum() + dark.sum()) > 0.93
    assert found.labels[40, 40] == 1
    assert found.labels[55, 100] == 2
    assert found.classes == {1: 0, 2: 0}
    assert all(0.5 < value <= 1 for value in found.confidences.values())


def test_objects_are_numbered_at_full_size_in_reading_order():
    """Enlarging turns the order round where two objects begin in almost the same row."""
    maps = np.zeros((3, 12, 12), np.float32)
    maps[1, 2:8, 8:11] = 0.55  # first in the coarse map, but its upper edge is faint
    maps[1, 2:8, 1:4] = 0.95
    maps[1, 2, 1:4] = 0.51
    maps[1, 2, 8] = 0.9
    maps[0] = 1 - maps[1]
    found = objects_of(maps, 60, 60, InstanceSettings(threshold=0.5, core_threshold=0.5))
    first = [np.flatnonzero(found.labels == label)[0] for label in range(1, found.labels.max() + 1)]
    assert first == sorted(first)
    assert set(found.classes) == set(found.confidences) == set(np.unique(found.labels)) - {0}


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.9])
def test_numbers_have_no_gaps_and_go_with_their_confidences(scale):
    rng = np.random.default_rng(0)
    size = round(80 * scale)
    front = rng.random((size, size)).astype(np.float32)
    maps = np.stack([1 - front, front, np.zeros_like(front)])
    found = objects_of(maps, 80, 80, InstanceSettings(threshold=0.7, core_threshold=0.7))
    numbers = set(np.unique(found.labels)) - {0}
    assert numbers == set(range(1, len(numbers) + 1)) == set(found.confidences)
    whole = objects_of(maps, size, size, InstanceSettings(threshold=0.7, core_threshold=0.7))
    assert set(found.confidences.values()) <= set(whole.confidences.values())


def test_an_ensemble_is_the_mean_of_its_members():
    image = picture()
    one, other = (
        segment([DarknessEngine(s)], image, scale=1, settings=InstanceSettings()).probabilities for s in (2.0, 9.0)
    )
    both = segment(
        [DarknessEngine(2.0), DarknessEngine(9.0)], image, scale=1, settings=InstanceSettings()
    ).probabilities
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
    found = segment([DarknessEngine()], np.zeros((1, 1, 3), dtype=np.uint8), scale=0.5, settings=InstanceSettings())
    assert found.labels.shape == (1, 1)


def test_label_maps_are_resized_without_new_values():
    labels = np.array([[0, 7], [300, 7]], dtype=np.int32)
    assert resize_labels(labels, 4, 4).tolist() == [[0, 0, 7, 7], [0, 0, 7, 7], [300, 300, 7, 7], [300, 300, 7, 7]]
    assert resize_labels(resize_labels(labels, 6, 6), 2, 2).tolist() == labels.tolist()


def test_images_shrink_by_averaging():
    stripes = np.zeros((40, 40, 3), dtype=np.uint8)
    stripes[:, ::2] = 200
    assert abs(int(resize_image(stripes, 0.5)[10:30, 8:12].mean()) - 100) <= 15
