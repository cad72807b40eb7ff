"""What an ensemble says of a pool, through engines without a network."""

import dataclasses

import numpy as np
import pytest

from frugalseg.engines.testing import DarknessEngine
from frugalseg.ensemble.scoring import as_pool, score_images, score_one
from frugalseg.images import cut_windows, open_dataset, read_image, write_image, write_label_map
from frugalseg.segmentation import described_map, probability_map
from frugalseg.stain import measure_stain
from frugalseg.synthetic import synthetic_glands


@pytest.fixture
def dataset(tmp_path):
    for index, grey in enumerate((40, 128, 220)):
        image = np.full((64, 80, 3), grey, dtype=np.uint8)
        image[20:40, 20:40] = 255 - grey
        write_image(tmp_path / "images" / f"{index}.png", image)
    return open_dataset(tmp_path)


def test_members_that_agree_are_certain(dataset):
    same = list(score_images([DarknessEngine(), DarknessEngine()], dataset.samples, lambda sample: 1.0))
    apart = list(score_images([DarknessEngine(2.0), DarknessEngine(9.0)], dataset.samples, lambda sample: 1.0))
    assert [each.scores.uncertainty for each in same] == [0.0, 0.0, 0.0]
    assert all(each.scores.uncertainty > 0 for each in apart[::2])
    assert [each.sample.name for each in apart] == ["0", "1", "2"]


def test_an_image_is_decoded_once_for_its_windows(dataset, monkeypatch):
    from frugalseg.images import samples

    decoded = []

    def counting(path):
        decoded.append(path.name)
        return read_image(path)

    monkeypatch.setattr(samples, "read_image", counting)
    windows = cut_windows(dataset.samples, 32)
    found = list(score_images([DarknessEngine()], windows, lambda sample: 1.0))
    assert decoded == ["0.png", "1.png", "2.png"]
    for each in found:
        x, y, width, height = each.sample.window
        part = read_image(each.sample.image)[y : y + height, x : x + width]
        alone = score_one([DarknessEngine()], each.sample, part, 1.0)
        assert np.array_equal(each.descriptor, alone.descriptor)


def test_descriptors_are_means_over_members(dataset):
    class Shifted(DarknessEngine):
        def describe(self, images):
            maps, found = super().describe(images)
            return maps, found + 10

    (first, *_) = score_images([DarknessEngine(), Shifted()], dataset.samples[:1], lambda sample: 1.0)
    assert np.allclose(
        first.descriptor, DarknessEngine().describe(np.full((1, 8, 8, 3), 40, np.uint8))[1][0] + 5, atol=40
    )
    alone = score_one([DarknessEngine()], dataset.samples[0], _image(dataset, 0), 1.0)
    assert np.allclose(first.descriptor, alone.descriptor + 5)


def test_images_are_described_in_the_training_images_stain(tmp_path):
    """Of two images that differ by the strength of their dye alone, one brings nothing that the other does not."""
    image = synthetic_glands(3, height=96, width=128).image
    write_image(tmp_path / "images" / "a.png", image)
    write_image(tmp_path / "images" / "b.png", np.rint(255 * (image / 255) ** 1.5).astype(np.uint8))
    samples = open_dataset(tmp_path).samples

    def distance(stain):
        one, other = score_images([DarknessEngine()], samples, lambda sample: 1.0, stain=stain)
        return np.abs(one.descriptor - other.descriptor).max()

    assert distance(measure_stain([image])) < distance(None) / 4


def _image(dataset, place):
    from frugalseg.images import load_image

    return load_image(dataset.samples[place])


def test_masks_are_not_read(tmp_path, dataset):
    write_label_map(tmp_path / "mask.png", np.ones((3, 3), np.int32))  # of another size: reading it would fail
    samples = [dataclasses.replace(sample, mask=tmp_path / "mask.png") for sample in dataset.samples]
    assert len(list(score_images([DarknessEngine()], samples, lambda sample: 1.0))) == 3


def test_maps_are_not_kept(dataset):
    assert all(
        each.scores.uncertainty_map.size == 0
        for each in score_images([DarknessEngine()], dataset.samples, lambda sample: 0.5)
    )


def test_the_pool_knows_which_windows_are_of_one_image(dataset):
    windows = cut_windows(dataset.samples, 32)
    pool = as_pool(list(score_images([DarknessEngine()], windows, lambda sample: 1.0)))
    assert len(pool.names) == len(set(pool.names)) == 3 * 6
    assert len(set(pool.images)) == 3
    assert as_pool([]).names == ()


def test_a_tiled_image_is_described_as_the_whole(dataset):
    image = _image(dataset, 0)
    whole, descriptor = described_map(DarknessEngine(), image)
    tiled, mean = described_map(DarknessEngine(), image, core_px=16)
    assert np.allclose(whole, tiled)
    assert np.allclose(whole, probability_map(DarknessEngine(), image))
    assert np.allclose(descriptor, mean, atol=25)
