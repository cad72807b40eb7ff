"""The real GlaS and nuclei images, where they are at hand."""

import numpy as np
import pytest

from frugalseg.cli import main
from frugalseg.images import load_sample, median_object_diameter, open_dataset, read_image, read_label_map, split_folds
from frugalseg.images.objects import label_components

from .builders import real


def test_glas():
    dataset = open_dataset(real("glas"))
    assert dataset.layout == "GlaS"
    assert dataset.subsets == {"testA": 60, "train": 85}
    assert dataset.pixel_size_um == 0.62
    grades = [(sample.subset, sample.category) for sample in dataset.samples]
    counts = {key: grades.count(key) for key in set(grades)}
    assert counts == {
        ("train", "benign"): 37,
        ("train", "malignant"): 48,
        ("testA", "benign"): 33,
        ("testA", "malignant"): 27,
    }


def test_glas_objects_are_connected_components():
    dataset = open_dataset(real("glas"), subset="train")
    loaded = [load_sample(dataset, sample) for sample in dataset.samples[:20]]
    for sample in loaded:
        assert sample.notes == ()
        assert len(sample.object_classes) == label_components(sample.labels > 0)[1]
    assert 50 < median_object_diameter([sample.labels for sample in loaded]) < 200


def test_glas_patients_are_never_shared():
    samples = open_dataset(real("glas"), subset="train").samples
    for train, validation in split_folds(samples, 5, seed=0, groups=True):
        assert not {samples[i].group for i in train} & {samples[i].group for i in validation}


@pytest.mark.parametrize("name", ["train_1", "train_2"])
def test_released_bmp_equals_png(name):
    released, converted = real("glas_bmp_sample"), real("glas", "train")
    np.testing.assert_array_equal(read_image(released / f"{name}.bmp"), read_image(converted / f"{name}.png"))
    masks = [read_label_map(released / f"{name}_anno.bmp"), read_label_map(converted / f"{name}_anno.png")]
    np.testing.assert_array_equal(*masks)
    assert masks[0].max() > 1


def test_nuclei():
    dataset = open_dataset(real("nuclei"))
    assert dataset.layout == "images + masks"
    assert len(dataset.labelled) == 60
    loaded = [load_sample(dataset, sample) for sample in dataset.samples[:10]]
    assert 5 < median_object_diameter([sample.labels for sample in loaded]) < 50


def test_check_of_glas_training_images(capsys):
    assert main(["data", "check", str(real("glas")), "--subset", "train"]) == 0
    printed = capsys.readouterr().out
    assert "85, 85 with mask, 0 without" in printed
    assert "malignant: 48, benign: 37" in printed
