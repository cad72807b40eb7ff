"""Each layout is found by itself; what does not fit is listed, all at once."""

import json
import logging

import numpy as np
import pytest

from frugalseg.errors import InputError
from frugalseg.images import (
    IMAGE_SUFFIXES,
    image_stem,
    is_mask_name,
    load_sample,
    open_dataset,
    write_image,
    write_label_map,
)

from .builders import HEIGHT, WIDTH, colours, save, two_objects

GRADES = "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)\r\n"


def problems(root, **options):
    with pytest.raises(InputError) as caught:
        open_dataset(root, **options)
    return [str(problem) for problem in caught.value.problems]


def glas(root, suffix=".bmp", folders=False):
    for name in ("train_1", "train_2", "testA_1", "testB_1"):
        folder = root / name.split("_")[0] if folders else root
        save(folder / f"{name}{suffix}", colours())
        save(folder / f"{name}_anno{suffix}", two_objects())
    rows = "testA_1,1, benign, healthy\r\ntrain_1,1, malignant, poor\r\ntrain_2,2, benign, adenomatous\r\n"
    (root / "Grade.csv").write_text(GRADES + rows + "testB_1,3, benign, healthy\r\n", newline="")
    return root


def pairs(root, names=("a", "b"), masks=None):
    for seed, name in enumerate(names):
        save(root / "images" / f"{name}.png", colours(seed))
    for name in names if masks is None else masks:
        save(root / "masks" / f"{name}.png", two_objects())
    return root


@pytest.mark.parametrize("suffix", [".bmp", ".png", ".tif"])
@pytest.mark.parametrize("folders", [False, True])
def test_glas_as_released(tmp_path, suffix, folders, caplog):
    with caplog.at_level(logging.INFO, "frugalseg"):
        dataset = open_dataset(glas(tmp_path, suffix, folders))
    assert dataset.layout == "GlaS"
    assert dataset.subsets == {"train": 2, "testA": 1, "testB": 1}
    assert {s.name: s.group for s in dataset.samples} == {
        "train_1": "1",
        "train_2": "2",
        "testA_1": "1",
        "testB_1": "3",
    }
    assert {s.category for s in dataset.samples} == {"benign", "malignant"}
    assert dataset.pixel_size_um == 0.62
    assert dataset.grouped
    assert dataset.notes == ()
    assert len([record for record in caplog.records if "layout GlaS" in record.getMessage()]) == 1
    loaded = load_sample(dataset, dataset.samples[0])
    np.testing.assert_array_equal(loaded.labels, two_objects())
    assert loaded.object_classes == {1: 0, 2: 0}


def test_glas_subset_and_folder_opened_directly(tmp_path):
    root = glas(tmp_path, folders=True)
    by_subset, by_folder = open_dataset(root, subset="testA"), open_dataset(root / "testA")
    for dataset in (by_subset, by_folder):
        assert [(s.name, s.subset, s.group) for s in dataset.samples] == [("testA_1", "testA", "1")]
    assert "only: testA, testB, train" in problems(root, subset="nothing")[0]


def test_glas_groups_can_be_left_out_or_replaced(tmp_path):
    root = glas(tmp_path)
    without = open_dataset(root, groups="none", subset="train")
    assert [s.group for s in without.samples] == [None, None]
    assert any("no groups" in note for note in without.notes)
    (tmp_path / "g.csv").write_text("Image; Group\ntrain_1.bmp; x\ntrain_2; y\n")
    assert [s.group for s in open_dataset(root, subset="train", groups=tmp_path / "g.csv").samples] == ["x", "y"]


def test_glas_mask_with_one_label_for_all_glands(tmp_path):
    root = glas(tmp_path)
    save(root / "testB_1_anno.bmp", (two_objects() > 0).astype(np.uint8) * 3)
    dataset = open_dataset(root, subset="testB")
    loaded = load_sample(dataset, dataset.samples[0])
    np.testing.assert_array_equal(loaded.labels, two_objects())
    assert "testB_1_anno.bmp: one label for all objects" in loaded.notes[0]


def test_images_and_masks(tmp_path):
    dataset = open_dataset(pairs(tmp_path, ("a", "b", "c"), masks=("a", "b")))
    assert dataset.layout == "images + masks"
    assert [s.name for s in dataset.samples] == ["a", "b", "c"]
    assert [s.name for s in dataset.unlabelled] == ["c"]
    assert any("1 image without a mask" in note and "c" in note for note in dataset.notes)
    assert dataset.samples[0].size == (HEIGHT, WIDTH)
    nothing = load_sample(dataset, dataset.samples[2])
    assert (nothing.labels == -1).all()
    assert nothing.object_classes == {}


def test_images_and_masks_in_subsets_with_other_suffix_and_ending(tmp_path):
    save(tmp_path / "train" / "images" / "a.jpg", colours())
    save(tmp_path / "train" / "masks" / "a_mask.png", two_objects())
    save(tmp_path / "val" / "images" / "b.tif", colours())
    save(tmp_path / "val" / "masks" / "b.tif", two_objects())
    dataset = open_dataset(tmp_path)
    assert [(s.name, s.subset, s.labelled) for s in dataset.samples] == [("a", "train", True), ("b", "val", True)]


@pytest.mark.parametrize("image", ["x.png", "x_img.png"])
@pytest.mark.parametrize("mask", ["x_masks.png", "x_cp_masks.tif", "x_mask.png"])
def test_cellpose(tmp_path, image, mask):
    save(tmp_path / image, colours())
    save(tmp_path / mask, two_objects())
    save(tmp_path / "y.png", colours())
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "Cellpose"
    found = {sample.name: sample.mask for sample in dataset.samples}
    assert found == {image_stem(image): tmp_path / mask, "y": None}


def nnunet(root, labels, split=False, ending=".png"):
    case = root / "imagesTr"
    if split:
        for channel in range(3):
            save(case / f"c1_000{channel}{ending}", colours()[..., channel])
    else:
        save(case / f"c1_0000{ending}", colours())
    stored = two_objects()
    stored[10:, 10:] = 1
    stored[0, :] = 3
    save(root / "labelsTr" / f"c1{ending}", stored)
    channels = {"0": "R", "1": "G", "2": "B"}
    document = {"channel_names": channels, "labels": labels, "numTraining": 1, "file_ending": ending}
    (root / "dataset.json").write_text(json.dumps(document))
    return stored


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_nnunet(tmp_path, split, ending):
    stored = nnunet(tmp_path, {"background": 0, "gland": 1, "nerve": 2, "ignore": 3}, split, ending)
    save(tmp_path / "imagesTs" / f"t_0000{ending}", colours())
    dataset = open_dataset(tmp_path)
    assert dataset.layout == "nnU-Net raw"
    assert dataset.class_names == ("gland", "nerve")
    assert dataset.subsets == {"test": 1, "train": 1}
    loaded = load_sample(dataset, dataset.samples[0])
    np.testing.assert_array_equal(loaded.image, colours())
    np.testing.assert_array_equal(loaded.labels == -1, stored == 3)
    assert sorted(loaded.object_classes.values()) == [0, 0, 1]  # two glands apart, one nerve
    assert loaded.labels[7, 9] != loaded.labels[11, 11]
    assert loaded.object_classes[int(loaded.labels[7, 9])] == 1


def test_nnunet_version_1_labels(tmp_path):
    nnunet(tmp_path, {"0": "background", "1": "gland", "2": "nerve", "3": "ignore"})
    assert open_dataset(tmp_path).class_names == ("gland", "nerve")


def test_nnunet_value_without_a_name(tmp_path):
    nnunet(tmp_path, {"background": 0, "gland": 1})
    dataset = open_dataset(tmp_path)
    with pytest.raises(InputError, match=r"value 2, 3, which dataset\.json does not name"):
        load_sample(dataset, dataset.samples[0])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not valid JSON"),
        ("[]", "has no labels"),
        ('{"labels": {"background": 0}}', "no class besides"),
        ('{"labels": {"a": [1, 2]}}', "region"),
        ('{"labels": {"a": 1.5}}', "an integer is needed"),
        ('{"labels": {"a": 1, "b": 1}}', "same value 1"),
    ],
)
def test_nnunet_description_that_cannot_be_used(tmp_path, text, reason):
    nnunet(tmp_path, {})
    (tmp_path / "dataset.json").write_text(text)
    assert reason in problems(tmp_path)[0]


def test_nnunet_names_and_channels_that_do_not_fit(tmp_path):
    nnunet(tmp_path, {"background": 0, "gland": 1, "nerve": 2, "x": 3}, split=True)
    (tmp_path / "imagesTr" / "c1_0002.png").unlink()
    save(tmp_path / "imagesTr" / "odd.png", colours())
    save(tmp_path / "labelsTr" / "c9.png", two_objects())
    listed = "\n".join(problems(tmp_path))
    assert "channels 0000, 0001" in listed
    assert "odd.png: has no channel number" in listed
    assert "c9.png: is a mask without an image" in listed
    (tmp_path / "dataset.json").unlink()
    assert "dataset.json: cannot be read (no such file" in "\n".join(problems(tmp_path))


def test_plain_folder(tmp_path):
    save(tmp_path / "b.jpg", colours())
    save(tmp_path / "a.png", colours())
    (tmp_path / "._a.png").write_bytes(b"a Mac's")
    (tmp_path / "read.me").write_text("nothing")
    dataset = open_dataset(tmp_path)
    assert [s.name for s in dataset.samples] == ["a", "b"]
    assert dataset.labelled == ()


def test_a_class_for_each_mask_folder(tmp_path):
    benign, malignant = two_objects() == 1, two_objects() == 2
    for name in ("a", "b"):
        save(tmp_path / "images" / f"{name}.png", colours())
    save(tmp_path / "masks" / "malignant" / "a.png", malignant.astype(np.uint8) * 255)
    save(tmp_path / "masks" / "benign" / "a.png", benign.astype(np.uint8) * 255)
    save(tmp_path / "masks" / "benign" / "b.png", two_objects())
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ("benign", "malignant")
    first, second = (load_sample(dataset, sample) for sample in dataset.samples)
    np.testing.assert_array_equal(first.labels, two_objects())
    assert first.object_classes == {1: 0, 2: 1}
    assert second.object_classes == {1: 0, 2: 0}


def test_pixels_of_two_classes_go_to_the_later_with_a_note(tmp_path):
    save(tmp_path / "images" / "a.png", colours())
    for name in ("one", "two"):
        save(tmp_path / "masks" / name / "a.png", (two_objects() == 1).astype(np.uint8))
    dataset = open_dataset(tmp_path)
    loaded = load_sample(dataset, dataset.samples[0])
    assert list(loaded.object_classes.values()) == [1]
    assert any("12 pixels belong to two classes" in note for note in loaded.notes)


def test_class_table(tmp_path):
    pairs(tmp_path, ("a",))
    (tmp_path / "masks" / "classes.csv").write_text("image,label,class\na.png,1,tumour\na,2,normal\n")
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == ("normal", "tumour")
    assert load_sample(dataset, dataset.samples[0]).object_classes == {1: 1, 2: 0}
    (tmp_path / "masks" / "classes.csv").write_text("image,label,class\na,1,tumour\n")
    dataset = open_dataset(tmp_path)
    with pytest.raises(InputError, match="object 2 has no class"):
        load_sample(dataset, dataset.samples[0])


def test_tables_that_do_not_fit(tmp_path):
    pairs(tmp_path)
    groups = tmp_path / "g.csv"
    cases = {
        "image,patient\na,1\n": "no column 'group'",
        "image,group\na,1\na,2\nb,1\n": "a is in two groups",
        "image,group\na,1\n": "gives no group for 1 image: b",
        "": "is empty",
        "image,group\na,\n": "row 1 has no value for 'group'",
    }
    for text, reason in cases.items():
        groups.write_text(text)
        assert reason in problems(tmp_path, groups=groups)[0], text
    groups.write_bytes(b"image,group\n\xff\xfe,1\n")
    assert "not UTF-8" in problems(tmp_path, groups=groups)[0]
    assert "no such file" in problems(tmp_path, groups=tmp_path / "none.csv")[0]
    (tmp_path / "classes.csv").write_text("image,label,class\na,zero,x\na,1,x\na,1,y\n")
    assert len(problems(tmp_path)) == 2


def test_problems_come_all_at_once(tmp_path):
    pairs(tmp_path, ("a", "b", "c"), masks=("a", "b", "c", "z"))
    save(tmp_path / "masks" / "b.png", np.zeros((5, 6), np.uint8))
    save(tmp_path / "images" / "c.jpg", colours())
    (tmp_path / "images" / "d.png").write_bytes(b"")
    listed = problems(tmp_path)
    assert len(listed) == 4
    for fragment in (
        "z.png: is a mask without an image",
        f"b.png: is 6 x 5, its image b.png is {WIDTH} x {HEIGHT}",
        "c.png: stands for c, as c.jpg already does",
        "d.png: is empty (0 bytes)",
    ):
        assert any(fragment in line for line in listed), (fragment, listed)


def test_masks_and_class_folders_together_are_refused(tmp_path):
    pairs(tmp_path)
    save(tmp_path / "masks" / "benign" / "a.png", two_objects())
    assert "one or the other" in problems(tmp_path)[0]


def test_turned_image_fits_its_mask(tmp_path):
    from PIL import Image as Pillow

    exif = Pillow.Exif()
    exif[274] = 6
    save(tmp_path / "images" / "a.jpg", colours(), exif=exif)
    save(tmp_path / "masks" / "a.png", two_objects().T.copy())
    dataset = open_dataset(tmp_path)
    loaded = load_sample(dataset, dataset.samples[0])
    assert loaded.image.shape[:2] == loaded.labels.shape == (WIDTH, HEIGHT)


def test_hash_follows_content_not_place(tmp_path):
    first, second = pairs(tmp_path / "one"), pairs(tmp_path / "two")
    expected = open_dataset(first).content_hash()
    assert open_dataset(second).content_hash() == expected
    assert open_dataset(first, ignore_value=2).content_hash() != expected
    save(second / "masks" / "b.png", two_objects().T.copy().T * 3)
    assert open_dataset(second).content_hash() != expected
    (first / "images" / "b.png").rename(first / "images" / "c.png")
    (first / "masks" / "b.png").rename(first / "masks" / "c.png")
    assert open_dataset(first).content_hash() != expected


def test_names():
    assert ".tiff" in IMAGE_SUFFIXES
    assert [is_mask_name(name) for name in ("x_anno.bmp", "d/x_masks.png", "x_cp_masks.tif", "x_masks.ome.tif")] == [
        True
    ] * 4
    assert [is_mask_name(name) for name in ("x.png", "masks.png", "_anno.png", "x_annotated.png")] == [False] * 4


def test_names_in_tables_with_and_without_suffix(tmp_path):
    """A name is taken as it stands where an image has it, and without the suffix of an image else."""
    for name in ("s1", "s1.tif", "a"):
        write_image(tmp_path / "images" / f"{name}.png", np.zeros((8, 9, 3), np.uint8))
        write_label_map(tmp_path / "masks" / f"{name}.png", np.ones((8, 9), np.int32))
    groups = tmp_path / "groups.csv"
    groups.write_text("image,group\ns1,A\ns1.tif,B\na.png,C\ns1.2,D\n")
    assert {each.name: each.group for each in open_dataset(tmp_path, groups=groups).samples} == {
        "s1": "A", "s1.tif": "B", "a": "C",
    }  # fmt: skip
    (tmp_path / "classes.csv").write_text("image,label,class\ns1,1,round\ns1.tif,1,long\na.png,1,round\n")
    table = open_dataset(tmp_path).object_table
    assert table == {"s1": {1: 1}, "s1.tif": {1: 0}, "a": {1: 1}}


@pytest.mark.parametrize(("other", "common"), [(0.5025, 0.50125), (0.51, None)])
def test_pixel_sizes_that_differ_by_a_measurement_are_one(tmp_path, other, common):
    for name, size in (("a", 0.5), ("b", other)):
        write_image(tmp_path / f"{name}.png", np.zeros((8, 9, 3), np.uint8), pixel_size_um=size)
    found = open_dataset(tmp_path)
    assert found.pixel_size_um == (None if common is None else pytest.approx(common, rel=1e-3))
    assert any("pixel sizes differ" in note for note in found.notes) == (common is None)
