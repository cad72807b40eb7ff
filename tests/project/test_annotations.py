"""Masks: every version kept, imported all or none, whatever their names and layout."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from frugalseg.errors import InputError
from frugalseg.images import Sample, open_dataset, write_image, write_label_map
from frugalseg.project import Drawings, Project, Reason

from .builders import HEIGHT, WIDTH, glas_folder, picture, small_project, tree, two_objects


def glas_project(folder: Path, n: int = 3) -> tuple[Project, Path]:
    """A project of `n` GlaS-named images without its masks, and the folder that has them."""
    data = glas_folder(folder / "data", n)
    project = Project.create(folder / "project")
    project.add_images(open_dataset(data).samples)
    return project, data


def test_versions_are_appended_and_kept(tmp_path: Path) -> None:
    project = small_project(tmp_path, "a", "b")
    before = datetime.now(UTC)
    first = project.annotate("a", np.zeros((HEIGHT, WIDTH), np.uint8), complete=False, source="page")
    content = first.mask.read_bytes()
    second = project.annotate("a", two_objects(), complete=True, source="page")
    assert (first.version, second.version) == (1, 2)
    assert [each.mask.name for each in project.history("a")] == ["a.v1.png", "a.v2.png"]
    assert project.history("a") == (first, second)
    assert project.history("b") == ()
    assert first.mask.read_bytes() == content
    current = Project.open(project.folder).image("a").annotation
    assert current == second
    assert current is not None
    assert before <= current.created_at <= datetime.now(UTC)
    assert (current.source, current.complete, current.window, current.n_objects) == ("page", True, None, 2)


def test_contour_is_the_length_of_the_outlines(tmp_path: Path) -> None:
    project = small_project(tmp_path, "a")
    labels = np.zeros((HEIGHT, WIDTH), np.int64)
    labels[:, :] = -1
    labels[2:12, 3:13] = 70  # a square of 10 x 10: its outline passes the centres of its border pixels
    assert project.annotate("a", labels, complete=True, source="test").contour_px == pytest.approx(36)
    assert project.annotate("a", labels * 0, complete=True, source="test").contour_px == 0


def test_annotations_move_images_from_pool_to_labelled(tmp_path: Path) -> None:
    project = small_project(tmp_path, *"abcde")
    (validated,) = project.draw_validation()
    one, other, *_ = (image.name for image in project.pool())
    project.annotate(one, two_objects(), complete=True, source="test")
    project.annotate(other, two_objects(), complete=False, source="test")
    project.annotate(validated, two_objects(), complete=True, source="test")
    assert [image.name for image in project.labelled()] == [one]
    assert other in {image.name for image in project.pool()}
    assert [image.annotation is not None for image in project.validation()] == [True]
    cost = project.cost()
    assert (cost.images, cost.objects) == (3, 6)
    assert cost.contour_px == pytest.approx(3 * project.labelled()[0].annotation.contour_px)  # type: ignore[union-attr]
    project.annotate(one, two_objects(), complete=False, source="test")
    assert project.labelled() == (), "the newest version decides"
    project.mark_unusable(other, "torn")
    assert other not in {image.name for image in project.pool()}


@pytest.mark.parametrize(
    ("value", "suffix"), [(1, ".png"), (65534, ".png"), (65535, ".tiff"), (65536, ".tiff"), (8_000_000, ".tiff")]
)
def test_labels_come_back_as_they_were(tmp_path: Path, value: int, suffix: str) -> None:
    project = small_project(tmp_path, "a")
    labels = two_objects()
    labels[labels == 2] = value
    labels[20:, :] = -1
    labels[0, 0] = 9
    given = labels.copy()
    done = project.annotate("a", labels, complete=True, source="test")
    assert (labels == given).all()
    expected = np.where(labels == 65535, 65536, labels)  # this number is taken
    assert done.mask.suffix == suffix
    assert (project.labels(done) == expected).all()
    assert done.n_objects == len(np.unique(labels[labels > 0]))


def test_outside_the_window_nothing_is_known(tmp_path: Path) -> None:
    project = small_project(tmp_path, "a")
    done = project.annotate("a", two_objects(), complete=True, source="page", window=(2, 1, 10, 8))
    assert project.history("a")[0].window == (2, 1, 10, 8)
    expected = np.full((HEIGHT, WIDTH), -1)
    expected[1:9, 2:12] = two_objects()[1:9, 2:12]
    assert (project.labels(done) == expected).all()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    project = small_project(tmp_path, "a")
    before = tree(project.folder)
    with pytest.raises(InputError, match="a: is 32 x 24, its mask 32 x 23"):
        project.annotate("a", two_objects()[1:], complete=True, source="test")
    for window in ((0, 0, WIDTH + 1, 1), (-1, 0, 2, 2), (0, 0, 0, 4)):
        with pytest.raises(InputError, match="has no window"):
            project.annotate("a", two_objects(), complete=True, source="test", window=window)
    with pytest.raises(InputError, match="is no image of this project"):
        project.annotate("b", two_objects(), complete=True, source="test")
    for labels in (two_objects() - 2, two_objects().astype(float)):
        with pytest.raises(ValueError, match="labels must be"):
            project.annotate("a", labels, complete=True, source="test")
    assert tree(project.folder) == before


def test_orphans_of_killed_writers_are_not_written_over(tmp_path: Path) -> None:
    project = small_project(tmp_path, "a")
    (project.folder / "masks" / "a.v1.png").write_text("left behind")
    assert project.annotate("a", two_objects(), complete=True, source="test").version == 2
    assert (project.folder / "masks" / "a.v1.png").read_text() == "left behind"


def test_glas_masks_are_imported_once(tmp_path: Path) -> None:
    project, data = glas_project(tmp_path)
    done = project.import_masks(data)
    assert done.imported == ("train_1", "train_2", "train_3")
    image = project.image("train_2")
    assert image.annotation is not None
    assert (image.annotation.source, image.annotation.complete) == ("import", True)
    assert (project.labels(image.annotation) == two_objects()).all()
    before = tree(project.folder)
    again = project.import_masks(data)
    assert (again.imported, again.unchanged) == ((), done.imported)
    assert tree(project.folder)["masks/train_1.v1.png"] == before["masks/train_1.v1.png"]
    assert len(tree(project.folder)) == len(before)
    write_label_map(data / "train_1_anno.png", two_objects()[::-1])
    assert project.import_masks(data).imported == ("train_1",)
    assert project.import_masks(data, complete=False).imported == done.imported
    assert [each.complete for each in project.history("train_1")] == [True, True, False]


@pytest.mark.parametrize("ending", ["_anno", "_mask", "_cp_masks", ""])
def test_masks_alone_are_matched_by_name(tmp_path: Path, ending: str) -> None:
    project, _ = glas_project(tmp_path)
    for number in (1, 3):
        write_label_map(tmp_path / "masks" / f"train_{number}{ending}.tif", two_objects())
    assert project.import_masks(tmp_path / "masks").imported == ("train_1", "train_3")


def test_binary_masks_become_objects(tmp_path: Path) -> None:
    project, _ = glas_project(tmp_path)
    (tmp_path / "masks").mkdir()
    Pillow.fromarray((two_objects() > 0).astype(np.uint8) * 255).save(tmp_path / "masks" / "train_1.png")
    done = project.import_masks(tmp_path / "masks")
    assert "connected components" in done.notes[0]
    (version,) = project.history("train_1")
    assert (version.n_objects, set(np.unique(project.labels(version)))) == (2, {0, 1, 2})


def test_ignored_value_becomes_not_annotated(tmp_path: Path) -> None:
    project, _ = glas_project(tmp_path)
    labels = two_objects()
    labels[20:] = 200
    write_label_map(tmp_path / "masks" / "train_1.png", labels)
    project.import_masks(tmp_path / "masks", ignore_value=200)
    assert (project.labels(project.history("train_1")[0])[20:] == -1).all()


def test_masks_of_a_part_of_the_data_set(tmp_path: Path) -> None:
    data = glas_folder(tmp_path / "data", 3)
    project = Project.create(tmp_path / "project")
    project.add_images(open_dataset(data).samples[:1])
    done = project.import_masks(data)
    assert (done.imported, done.others) == (("train_1",), ("train_2", "train_3"))


def test_every_problem_is_named_and_nothing_imported(tmp_path: Path) -> None:
    project, data = glas_project(tmp_path, 4)
    before = tree(project.folder)
    masks = tmp_path / "masks"
    write_label_map(masks / "train_1.png", two_objects())
    write_label_map(masks / "train_2.png", two_objects()[1:])
    write_image(masks / "train_3.png", picture(3))
    (masks / "train_4.png").write_text("no mask")
    with pytest.raises(InputError) as caught:
        project.import_masks(masks)
    assert len(caught.value.problems) == 3
    assert all(f"train_{number}" in str(caught.value) for number in (2, 3, 4))
    write_label_map(masks / "stranger.png", two_objects())
    write_label_map(masks / "train_1.tif", two_objects())
    with pytest.raises(InputError) as caught:
        project.import_masks(masks)
    assert {"stranger.png", "train_1.tif", "train_2.png"} < {Path(each.where).name for each in caught.value.problems}
    write_image(data / "train_2.png", picture(99))
    with pytest.raises(InputError, match="is another image than train_2 of this project"):
        project.import_masks(data)
    assert tree(project.folder) == before


def test_same_pixels_in_another_file_are_the_same_image(tmp_path: Path) -> None:
    project, data = glas_project(tmp_path, 2)
    Pillow.open(data / "train_1.png").save(data / "train_1.bmp")
    (data / "train_1.png").unlink()
    assert project.import_masks(data).imported == ("train_1", "train_2")


def test_folders_without_masks_are_refused(tmp_path: Path) -> None:
    project, _ = glas_project(tmp_path)
    (tmp_path / "empty").mkdir()
    write_image(tmp_path / "nested" / "scans" / "x.png", picture(1))
    (tmp_path / "file").write_text("")
    for name, reason in {
        "empty": "holds no",
        "nested": "holds no masks",
        "file": "is not a folder",
        "gone": "does not exist",
    }.items():
        with pytest.raises(InputError, match=reason):
            project.import_masks(tmp_path / name)


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    for number, kind in enumerate(("nerve", "gland")):
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)
        labels[4 + 8 * number : 8 + 8 * number, 5:9] = 1
        write_label_map(tmp_path / "set" / "masks" / kind / "x.png", labels)
    write_image(tmp_path / "set" / "images" / "x.png", picture(0))
    source = [Sample("x", tmp_path / "set" / "images" / "x.png", None, "all")]
    project = Project.create(tmp_path / "project", ("nerve", "vessel", "gland"))
    project.add_images(source)
    project.import_masks(tmp_path / "set")
    (version,) = project.history("x")
    labels = project.labels(version)
    assert project.class_names[version.object_classes[int(labels[5, 6])]] == "nerve"
    assert project.class_names[version.object_classes[int(labels[13, 6])]] == "gland"
    assert project.import_masks(tmp_path / "set").unchanged == ("x",)
    single = Project.create(tmp_path / "single")
    single.add_images(source)
    with pytest.raises(InputError, match="has the classes gland, nerve, this project object"):
        single.import_masks(tmp_path / "set")


def test_a_mask_of_a_suggested_window_tells_nothing_of_the_rest(tmp_path: Path) -> None:
    project = small_project(tmp_path, "a", "b", "c")
    window = (2, 1, 12, 14)
    project.add_suggestions([Reason(name, window=window) for name in "ab"], "cover")
    inside = two_objects() * (two_objects() == 1)
    for name, labels in (("a", inside), ("b", two_objects()), ("c", inside)):
        write_label_map(tmp_path / "masks" / f"{name}.png", labels)
    done = project.import_masks(tmp_path / "masks")
    assert done.notes == (
        "a: its objects lie in the window that was suggested, and count for that alone",
        "b: was suggested as a window; its mask is taken for the whole image",
    )
    found = {name: project.image(name).annotation for name in "abc"}
    assert {name: each and each.window for name, each in found.items()} == {"a": window, "b": None, "c": None}
    labels = project.labels(found["a"])  # type: ignore[arg-type]
    assert (labels[15:] == -1).all()
    assert (labels[:15, 2:14] >= 0)[1:].all()
    assert project.import_masks(tmp_path / "masks").unchanged == ("a", "b", "c")


def test_numbers_too_large_to_draw_beside_are_given_anew(tmp_path: Path) -> None:
    project = small_project(tmp_path, "a")
    labels = two_objects()
    labels[labels == 2] = 20_000_000
    labels[20:, :] = -1
    version = project.annotate("a", labels, complete=True, source="import")
    expected = two_objects()
    expected[20:, :] = -1
    assert (project.labels(version) == expected).all()
    assert Drawings(project).state(project.image("a").id).next_label == 3


def test_classes_given_with_labels(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", ("gland", "nerve"))
    write_image(tmp_path / "x.png", picture(0))
    project.add_images([tmp_path / "x.png"])
    done = project.annotate("x", two_objects(), complete=True, source="page", object_classes={2: 1, 7: 1})
    assert dict(done.object_classes) == {1: 0, 2: 1}
    with pytest.raises(ValueError, match="classes"):
        project.annotate("x", two_objects(), complete=True, source="page", object_classes={2: 2})
