"""Images in a project: added all or none, marked, and found again elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from frugalseg.errors import InputError
from frugalseg.images import Sample, open_dataset, write_image
from frugalseg.project import Candidate, Project, check_images

from .builders import HEIGHT, WIDTH, image_folder, picture, small_project, tree


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path / "project")


def problems(error: InputError) -> list[tuple[str, str]]:
    return [(Path(problem.where).name, problem.reason) for problem in error.problems]


def large(*paths: Path) -> tuple[Candidate, ...]:
    """Small files, judged as if they were large ones."""
    return check_images(paths, small_bytes=10)


def test_images_are_copied_byte_for_byte(tmp_path: Path, project: Project) -> None:
    paths = image_folder(tmp_path / "data", "a", "b")
    assert project.add_images(paths).added == ("a", "b")
    shutil.rmtree(tmp_path / "data", ignore_errors=True)
    image = Project.open(project.folder).image("a")
    assert image.path == project.folder / "images" / "a.png"
    write_image(tmp_path / "again.png", picture(0), pixel_size_um=0.5)
    assert image.path.read_bytes() == (tmp_path / "again.png").read_bytes()
    assert (image.height, image.width, image.pixel_size_um) == (HEIGHT, WIDTH, 0.5)
    assert (image.role, image.group, image.root, image.annotation, image.usable) == (None, None, None, None, True)


def test_nothing_to_add(project: Project) -> None:
    assert project.add_images([]).added == ()


def test_groups_come_from_samples(tmp_path: Path, project: Project) -> None:
    (path,) = image_folder(tmp_path, "a")
    project.add_images([Sample("renamed", path, None, "all", group="patient 3")])
    assert (project.image("renamed").group, project.image("renamed").path.name) == ("patient 3", "renamed.png")


def test_duplicates_are_skipped_and_counted(tmp_path: Path, project: Project) -> None:
    paths = image_folder(tmp_path, "a", "b")
    shutil.copy(paths[0], tmp_path / "copy.png")
    first = project.add_images([*paths, tmp_path / "copy.png"])
    assert (first.added, first.duplicates) == (("a", "b"), ("copy.png",))
    second = project.add_images([tmp_path / "copy.png", *paths, *image_folder(tmp_path, "c", first_seed=9)])
    assert (second.added, second.duplicates) == (("c",), ("copy.png", "a.png", "b.png"))
    assert [image.name for image in project.images()] == ["a", "b", "c"]


def test_late_groups_reach_images_without_role(tmp_path: Path, project: Project) -> None:
    paths = image_folder(tmp_path, "a", "b", "c")
    project.add_images(paths)
    grouped = [Sample(path.stem, path, None, "all", group="p") for path in paths]
    assert project.add_images(grouped[:2]).regrouped == ("a", "b")
    project.draw_validation()
    assert project.add_images(grouped).regrouped == ()
    assert project.image("c").group is None


def test_every_problem_is_named_and_nothing_added(tmp_path: Path, project: Project) -> None:
    project.add_images(image_folder(tmp_path / "old", "a"))
    before = tree(project.folder)
    paths = image_folder(tmp_path / "new", "a", "fine", "cut", "q?", first_seed=5)
    (tmp_path / "new" / "cut.png").write_bytes(paths[2].read_bytes()[:-40])
    (tmp_path / "new" / "text.png").write_text("no image")
    other = image_folder(tmp_path / "other", "fine", first_seed=50)
    with pytest.raises(InputError) as caught:
        project.add_images([*paths, tmp_path / "new" / "text.png", tmp_path / "gone.png", *other])
    named = dict(problems(caught.value))
    assert set(named) == {"cut.png", "text.png", "gone.png", "q?.png", "fine.png"}
    assert named["fine.png"].startswith("has the name of another image")
    with pytest.raises(InputError) as caught:
        project.add_images(paths[:2])
    assert problems(caught.value) == [("a.png", "is another image than a, which the project already has")]
    assert tree(project.folder) == before


def test_pixels_that_cannot_be_decoded_are_a_problem(tmp_path: Path, project: Project) -> None:
    (path,) = image_folder(tmp_path, "a")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    path.write_bytes(content)
    with pytest.raises(InputError):
        project.add_images([path])


def test_names_that_differ_in_case_only_are_one(tmp_path: Path, project: Project) -> None:
    project.add_images(image_folder(tmp_path / "1", "Slide"))
    with pytest.raises(InputError, match="another image than Slide"):
        project.add_images(image_folder(tmp_path / "2", "slide", first_seed=3))


def test_killed_copy_is_taken_up_but_strangers_are_not_lost(tmp_path: Path, project: Project) -> None:
    paths = image_folder(tmp_path, "a", "b")
    shutil.copy(paths[0], project.folder / "images" / "a.png")
    (project.folder / "images" / "b.png").write_text("somebody's")
    with pytest.raises(InputError, match=r"b\.png: is in the way"):
        project.add_images(paths)
    assert (project.folder / "images" / "b.png").read_text() == "somebody's"
    assert project.add_images(paths[:1]).added == ("a",)


def test_data_sets_of_all_layouts_are_sources(tmp_path: Path, project: Project) -> None:
    image_folder(tmp_path / "set" / "images", "x")
    (tmp_path / "set" / "masks").mkdir()
    assert project.add_images(open_dataset(tmp_path / "set").samples).added == ("x",)


def test_large_images_stay_where_they_are(tmp_path: Path, project: Project) -> None:
    paths = image_folder(tmp_path / "scans" / "deep", "a", "b")
    with pytest.raises(InputError) as caught:
        project.add_images(large(*paths))
    assert len(caught.value.problems) == 2
    assert "--root" in str(caught.value)
    with pytest.raises(InputError, match="does not lie in the root"):
        project.add_images(large(*paths), ("scans", tmp_path / "project"))
    project.add_images(large(*paths), ("scans", tmp_path / "scans"))
    assert not any((project.folder / "images").iterdir())
    image = project.image("b")
    assert (image.path, image.root) == (paths[1].resolve(), "scans")
    assert image.sha256.startswith("fp:")
    assert project.roots() == {"scans": (tmp_path / "scans").resolve()}
    assert project.add_images(large(*paths), ("scans", tmp_path / "scans")).duplicates == ("a.png", "b.png")
    with pytest.raises(InputError, match="is the name of the root"):
        project.add_images(large(*image_folder(tmp_path / "more", "c", first_seed=7)), ("scans", tmp_path / "more"))


def test_relink_compares_every_image_first(tmp_path: Path, project: Project) -> None:
    paths = image_folder(tmp_path / "scans", "a", "b", "c")
    project.add_images(large(*paths), ("scans", tmp_path / "scans"))
    image_folder(tmp_path / "wrong", "a")
    image_folder(tmp_path / "wrong", "b", first_seed=40)
    with pytest.raises(InputError) as caught:
        project.relink("scans", tmp_path / "wrong")
    assert problems(caught.value) == [
        ("b.png", "is not the file it was when it was added"),
        ("c.png", "is missing"),
    ]
    shutil.move(tmp_path / "scans", tmp_path / "moved")
    assert [Path(problem.where).name for problem in project.integrity()] == ["a.png", "b.png", "c.png"]
    assert project.relink("scans", tmp_path / "moved") == 3
    assert project.integrity() == ()
    assert project.image("a").path == (tmp_path / "moved" / "a.png").resolve()
    with pytest.raises(InputError, match="there are: scans"):
        project.relink("scan", tmp_path / "moved")
    with pytest.raises(InputError, match="does not exist"):
        project.relink("scans", tmp_path / "nowhere")


def test_fingerprint_tells_size_and_both_ends(tmp_path: Path) -> None:
    from frugalseg.project.hashing import fingerprint

    mib = 2**20
    content = bytearray(b"\x01" * (3 * mib))
    path = tmp_path / "large"
    path.write_bytes(content)
    whole = fingerprint(path)
    for place in (0, mib - 1, 2 * mib, 3 * mib - 1):
        path.write_bytes(content[:place] + b"\x02" + content[place + 1 :])
        assert fingerprint(path) != whole
    path.write_bytes(content + b"\x01")
    assert fingerprint(path) != whole
    path.write_bytes(content)
    assert fingerprint(path) == whole


def test_unusable_images_leave_pool_and_validation(tmp_path: Path) -> None:
    project = small_project(tmp_path, *"abcde")
    (validated,) = project.draw_validation()
    spare = project.pool()[0].name
    project.mark_unusable(validated, "out of\nfocus")
    project.mark_unusable(spare, "torn")
    assert project.validation() == ()
    assert spare not in {image.name for image in project.pool()}
    assert project.image(validated).unusable_reason == "out of focus"
    project.mark_usable(spare)
    project.mark_usable(validated)
    assert [image.name for image in project.validation()] == [validated]
    assert len(project.pool()) == 4


def test_marking_needs_an_image_and_a_reason(tmp_path: Path) -> None:
    project = small_project(tmp_path, "train_1", "train_2")
    with pytest.raises(InputError, match=r"did you mean train_1"):
        project.mark_unusable("tran_1", "torn")
    with pytest.raises(InputError, match="needs a reason"):
        project.mark_unusable("train_1", "  ")
