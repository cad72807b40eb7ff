"""Lists of samples: any images and masks, and windows of them, as a data set."""

import dataclasses
import json

import numpy as np
import pytest

from frugalseg.errors import InputError
from frugalseg.images import load_image, load_sample, open_dataset, write_image, write_label_map, write_listing


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        write_image(tmp_path / "data" / "images" / f"{name}.png", rng.integers(0, 255, (40, 60, 3)).astype(np.uint8))
        labels = np.zeros((40, 60), dtype=np.int32)
        labels[2:10, 2:12], labels[20:30, 30:50] = 1, 2
        write_label_map(tmp_path / "data" / "masks" / f"{name}.png", labels)
    return open_dataset(tmp_path / "data")


def test_a_list_opens_as_its_samples(tmp_path, dataset):
    chosen = [dataset.samples[2], dataclasses.replace(dataset.samples[0], mask=None, group="p1", category="benign")]
    write_listing(tmp_path / "round" / "data", dataset, chosen)
    again = open_dataset(tmp_path / "round" / "data")
    assert [sample.name for sample in again.samples] == ["c", "a"]
    assert [sample.labelled for sample in again.samples] == [True, False]
    assert (again.samples[1].group, again.samples[1].category) == ("p1", "benign")
    before, after = load_sample(dataset, dataset.samples[2]), load_sample(again, again.samples[0])
    assert np.array_equal(before.image, after.image)
    assert np.array_equal(before.labels, after.labels)


def test_a_window_cuts_image_and_mask(tmp_path, dataset):
    window = (5, 4, 30, 20)
    write_listing(tmp_path / "list", dataset, [dataclasses.replace(dataset.samples[0], name="a@5,4", window=window)])
    again = open_dataset(tmp_path / "list")
    whole, part = load_sample(dataset, dataset.samples[0]), load_sample(again, again.samples[0])
    assert np.array_equal(part.image, whole.image[4:24, 5:35])
    assert np.array_equal(part.labels, whole.labels[4:24, 5:35])
    assert set(part.object_classes) == set(np.unique(part.labels)) - {0}
    assert np.array_equal(load_image(again.samples[0]), part.image)


def test_windows_change_the_content_hash(tmp_path, dataset):
    sample = dataset.samples[0]
    hashes = []
    for index, window in enumerate([None, (0, 0, 20, 20), (1, 0, 20, 20)]):
        write_listing(tmp_path / str(index), dataset, [dataclasses.replace(sample, window=window)])
        hashes.append(open_dataset(tmp_path / str(index)).content_hash())
    assert len(set(hashes)) == 3


def test_classes_ignored_value_and_pixel_size_stay(tmp_path):
    image = np.zeros((10, 10, 3), dtype=np.uint8)
    write_image(tmp_path / "d" / "images" / "x.png", image)
    write_label_map(tmp_path / "d" / "masks" / "x.png", np.full((10, 10), 3))
    (tmp_path / "d" / "classes.csv").write_text("image,label,class\nx,3,round\n")
    dataset = open_dataset(tmp_path / "d", ignore_value=9, pixel_size_um=0.5)
    write_listing(tmp_path / "list", dataset, dataset.samples)
    again = open_dataset(tmp_path / "list")
    assert (again.class_names, again.ignore_value, again.pixel_size_um) == (("round",), 9, 0.5)
    assert (
        load_sample(again, again.samples[0]).object_classes == load_sample(dataset, dataset.samples[0]).object_classes
    )


def test_labels_that_are_objects_stay_so(tmp_path, dataset):
    """The only label of an image may lie in pieces where a label is an object, as in a project."""
    labels = np.zeros((40, 60), dtype=np.int32)
    labels[2:10, 2:12] = labels[20:30, 30:50] = 1
    write_label_map(dataset.samples[0].mask, labels)
    for whole, n in ((False, 2), (True, 1)):
        write_listing(tmp_path / f"list {whole}", dataclasses.replace(dataset, whole_objects=whole), dataset.samples)
        again = open_dataset(tmp_path / f"list {whole}")
        assert load_sample(again, again.samples[0]).labels.max() == n
    document = json.loads((tmp_path / "list True" / "samples.json").read_text())
    del document["whole_objects"]  # as versions before wrote it
    (tmp_path / "list True" / "samples.json").write_text(json.dumps(document))
    assert not open_dataset(tmp_path / "list True").whole_objects


def test_a_window_outside_its_image_is_refused(tmp_path, dataset):
    write_listing(tmp_path / "list", dataset, [dataclasses.replace(dataset.samples[0], window=(50, 0, 30, 20))])
    again = open_dataset(tmp_path / "list")
    with pytest.raises(InputError, match="has no window"):
        load_sample(again, again.samples[0])


def test_missing_files_are_named(tmp_path, dataset):
    write_listing(tmp_path / "list", dataset, dataset.samples)
    dataset.samples[1].image.unlink()
    with pytest.raises(InputError, match=r"b\.png.*not there"):
        open_dataset(tmp_path / "list")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"samples": [{"name": "x"}]},
        {"samples": None},
        {"ignore_value": [1]},
        {"semantic": [[1e999, 0]]},
        {
            "samples": [
                {
                    "name": "x",
                    "images": [],
                    "masks": [],
                    "subset": None,
                    "group": None,
                    "category": None,
                    "window": None,
                }
            ]
        },
    ],
)
def test_other_content_is_one_line(tmp_path, dataset, change):
    write_listing(tmp_path / "list", dataset, dataset.samples)
    path = tmp_path / "list" / "samples.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match="is not a list of samples"):
        open_dataset(tmp_path / "list")


def test_two_samples_of_one_name_are_refused(tmp_path, dataset):
    with pytest.raises(ValueError, match="one name"):
        write_listing(tmp_path / "list", dataset, [dataset.samples[0], dataset.samples[0]])
