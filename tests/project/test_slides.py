"""Slides of a project: registered where they lie, and windows of them that become images."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select

from frugalseg.cli import main
from frugalseg.errors import InputError
from frugalseg.images import Sample, read_image, write_image
from frugalseg.project import (
    NewWindow,
    Project,
    Reason,
    SlidePlace,
    SlideSettings,
    check_slides,
    divide_folder,
)
from frugalseg.project.images import file_fault
from frugalseg.project.schema import ImageRow, SlideRow
from frugalseg.project.store import open_store
from frugalseg.synthetic import write_synthetic_slide

from .builders import image_folder, picture, small_project, two_objects, write_slide


def pixels(seed: int, height: int = 200, width: int = 320) -> NDArray[np.uint8]:
    """A slide's level 0: colours that tell where a pixel lies."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows % 256, columns % 256, np.full_like(rows, 40 * seed % 256)], axis=2).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Slides s and t, a picture and a mask."""
    write_slide(tmp_path / "data" / "s.tif", pixels(1))
    write_slide(tmp_path / "data" / "t.tif", pixels(2))
    image_folder(tmp_path / "data", "a", "a_mask")
    return tmp_path / "data"


def with_slides(folder: Path, *slides: Path, **settings: float | int | None) -> Project:
    project = Project.create(folder.parent / "project")
    project.add_slides(
        check_slides(slides or sorted(folder.glob("*.tif")), SlideSettings(**settings)), ("data", folder)
    )  # type: ignore[arg-type]
    return project


def window(slide: str, x: int, y: int, side: int = 64, seed: int = 1) -> NewWindow:
    part = pixels(seed)[y : y + side, x : x + side]
    return NewWindow(slide, f"{slide}_x{x}_y{y}", (x, y, side, side), part, "pool")


def test_slides_are_told_from_pictures(folder: Path) -> None:
    slides, pictures = divide_folder(folder)
    assert [each.name for each in slides] == ["s.tif", "t.tif"]
    assert [each.name for each in pictures] == ["a.png"]
    assert divide_folder(folder / "s.tif") == ([folder / "s.tif"], [])
    assert divide_folder(folder / "a.png") == ([], [])


def test_slides_are_never_copied(folder: Path) -> None:
    project = with_slides(folder)
    s, t = project.slides()
    assert (s.name, s.path, s.root, s.width, s.height) == ("s", folder / "s.tif", "data", 320, 200)
    assert (s.pixel_size_um, s.factor, s.window_px, s.role) == (0.5, 1.0, 1024, None)
    assert project.slide_numbered(t.id) == t
    assert not list((project.folder / "images").iterdir())
    again = project.add_slides(check_slides([folder / "s.tif"], SlideSettings()), ("data", folder))
    assert (again.added, again.duplicates) == ((), ("s.tif",))
    with pytest.raises(InputError, match="slide 99: is not in this project"):
        project.slide_numbered(99)


def test_windows_have_a_pixel_size_of_their_own(folder: Path) -> None:
    project = with_slides(folder, pixel_size_um=1.0, window_px=64)
    assert {(each.factor, each.window_px, each.window_pixel_size_um) for each in project.slides()} == {(2.0, 64, 1.0)}
    with pytest.raises(InputError, match=r"has pixels of 0\.5 µm, none of 0\.2 µm"):
        check_slides([folder / "s.tif"], SlideSettings(0.2))
    with pytest.raises(InputError, match="must lie between 64 and 4096"):
        check_slides([folder / "s.tif"], SlideSettings(window_px=8))


def test_problems_are_named_and_nothing_is_added(folder: Path, tmp_path: Path) -> None:
    project = with_slides(folder)
    shutil.copy(folder / "t.tif", folder / "u.tif")
    content = (folder / "u.tif").read_bytes()
    (folder / "u.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"u\.tif"):
        check_slides([folder / "u.tif"], SlideSettings())
    elsewhere = write_slide(tmp_path / "other" / "s.tif", pixels(3))
    candidates = check_slides([elsewhere], SlideSettings())
    with pytest.raises(InputError) as caught:
        project.add_slides(candidates, ("data", elsewhere.parent))
    reasons = [each.reason for each in caught.value.problems]
    assert any("another slide than s" in each for each in reasons)
    assert any("is the name of the root" in each for each in reasons)
    with pytest.raises(InputError, match="does not lie in the root"):
        project.add_slides(candidates, ("data", folder))
    assert len(project.slides()) == 2


def test_a_folder_can_be_a_slide(tmp_path: Path) -> None:
    pytest.importorskip("zarr", reason="needs zarr, of the extra wsi")
    write_synthetic_slide(tmp_path / "data" / "z.ome.zarr", 512, 400, seed=1, tissue=1.0, kind="ome-zarr")
    project = with_slides(tmp_path / "data", *divide_folder(tmp_path / "data")[0])
    (slide,) = project.slides()
    assert (slide.name, slide.width, slide.height) == ("z", 512, 400)
    assert project.integrity() == ()
    part = next(each for each in slide.path.rglob("*") if each.is_file() and each.suffix != ".json")
    part.write_bytes(part.read_bytes() + b"x")
    assert [each.reason for each in project.integrity()] == ["is not the file it was when it was added"]


def test_names_of_images_and_slides_differ(folder: Path, tmp_path: Path) -> None:
    project = small_project(tmp_path, "s")
    with pytest.raises(InputError, match="has the name of an image"):
        project.add_slides(check_slides([folder / "s.tif"], SlideSettings()), ("data", folder))
    project.add_slides(check_slides([folder / "t.tif"], SlideSettings()), ("data", folder))
    write_image(tmp_path / "t.png", picture(7))
    with pytest.raises(InputError, match="has the name of a slide"):
        project.add_images([tmp_path / "t.png"])


def test_a_window_is_an_image_at_its_place(folder: Path) -> None:
    project = with_slides(folder)
    project.draw_validation(share=0.0)
    project.add_suggestions([Reason("s_x64_y32")], "cover", windows=[window("s", 64, 32), window("t", 0, 0, seed=2)])
    s = project.slides()[0]
    image = project.image("s_x64_y32")
    assert image.slide == SlidePlace(s.id, "s", 64, 32, 64, 64, 320, 200, s.tile_levels)
    assert (image.width, image.height, image.pixel_size_um, image.role, image.group) == (64, 64, 0.5, "pool", "s")
    assert (read_image(image.path) == pixels(1)[32:96, 64:128]).all()
    assert file_fault(image.path, image.sha256) is None
    assert {each.name for each in project.pool()} == {"s_x64_y32", "t_x0_y0"}
    project.annotate("s_x64_y32", np.pad(two_objects(), ((0, 40), (0, 32))), complete=True, source="test")
    assert [each.name for each in project.labelled()] == ["s_x64_y32"]
    assert project.integrity() == ()


def test_equal_pixels_at_two_places_are_two_images(folder: Path) -> None:
    project = with_slides(folder)
    blank = np.full((64, 64, 3), 250, np.uint8)
    windows = [NewWindow("s", f"s_x{x}_y0", (x, 0, 64, 64), blank, "pool") for x in (0, 64)]
    project.add_suggestions([], "cover", windows=windows)
    assert len({each.sha256 for each in project.images()}) == 2


def test_windows_and_suggestions_come_together_or_not_at_all(folder: Path) -> None:
    project = with_slides(folder)
    project.add_suggestions([], "cover", windows=[window("s", 64, 32)])
    before = project.image("s_x64_y32").path.read_bytes()
    with pytest.raises(InputError, match="is the name of an image already"):
        project.add_suggestions([], "cover", windows=[window("s", 0, 0), window("s", 64, 32, seed=5)])
    assert project.image("s_x64_y32").path.read_bytes() == before
    with pytest.raises(InputError, match="is no image of this project"):
        project.add_suggestions([Reason("nothing")], "cover", windows=[window("s", 0, 0)])
    assert [each.name for each in project.images()] == ["s_x64_y32"]
    (project.folder / "images" / "s_x0_y0.png").write_bytes(b"left behind by a kill")
    project.add_suggestions([Reason("s_x0_y0")], "cover", windows=[window("s", 0, 0)])
    assert (read_image(project.image("s_x0_y0").path) == pixels(1)[:64, :64]).all()


def test_validation_takes_whole_slides_and_leaves_one(folder: Path) -> None:
    project = with_slides(folder)
    (aside,) = project.draw_validation(share=0.2, seed=3)
    assert [each.name for each in project.slides_for("validation")] == [aside]
    assert len(project.slides_for("pool")) == 1
    assert project.draw_validation(share=0.9, seed=4) == ()


def test_a_single_slide_is_for_training(folder: Path) -> None:
    (folder / "t.tif").unlink()
    project = with_slides(folder)
    assert project.draw_validation(share=0.5) == ()
    assert [each.role for each in project.slides()] == ["pool"]


def test_a_patient_whose_slide_is_set_aside_is_not_trained_on(folder: Path) -> None:
    """Images that are annotated before they are drawn go with their patient's slide."""
    project = with_slides(folder)
    paths = image_folder(folder.parent / "more", "x", "y", "z")
    groups = ("p1", "p2", "p4")
    project.add_images(
        [Sample(path.stem, path, None, "all", group=group) for path, group in zip(paths, groups, strict=True)]
    )
    with open_store(project.folder).write() as session:
        for row in session.scalars(select(SlideRow)):
            row.group, row.role = {"s": ("p1", "validation"), "t": ("p3", "pool")}[row.name]
        for image in session.scalars(select(ImageRow).where(ImageRow.name == "z")):
            image.role = "pool"  # the images have been drawn
    for name in "xy":
        project.annotate(name, two_objects(), complete=True, source="test")
    project.admit()
    assert [project.image(name).role for name in "xy"] == ["validation", "pool"]


def test_moved_changed_unusable(folder: Path, tmp_path: Path) -> None:
    project = with_slides(folder)
    project.draw_validation(share=0.0)
    project.mark_unusable("s", "pen all over it")
    assert [each.name for each in project.slides_for("pool")] == ["t"]
    project.mark_usable("s")
    assert len(project.slides_for("pool")) == 2
    folder.rename(tmp_path / "moved")
    assert [each.reason for each in project.integrity()] == ["is missing", "is missing"]
    assert project.relink("data", tmp_path / "moved") == 2
    assert project.integrity() == ()
    write_slide(tmp_path / "moved" / "t.tif", pixels(8))
    with pytest.raises(InputError, match="is not the file it was"):
        project.relink("data", tmp_path / "moved")


def test_a_slide_without_another_place_is_copied(folder: Path, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project")
    candidates = check_slides([folder / "s.tif"], SlideSettings())
    assert project.add_slides(candidates, None).added == ("s",)
    assert project.add_slides(candidates, None).duplicates == ("s.tif",)
    (slide,) = project.slides()
    assert (slide.path, slide.root) == (project.folder / "slides" / "s.tif", None)
    assert slide.path.read_bytes() == (folder / "s.tif").read_bytes()
    project.backup(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert set(archive.namelist()) == {"project.sqlite", "slides/s.tif"}
    other = check_slides([write_slide(tmp_path / "other" / "s.tif", pixels(5))], SlideSettings())
    with pytest.raises(InputError, match="another slide than s"):
        project.add_slides(other, None)
    assert project.integrity() == ()


def test_images_alone_may_come_from_another_folder_of_the_name(folder: Path, tmp_path: Path) -> None:
    project = with_slides(folder)
    assert project.add_slides((), ("data", tmp_path)).added == ()


def test_backup_has_windows_and_no_slides(folder: Path, tmp_path: Path) -> None:
    project = with_slides(folder)
    project.add_suggestions([], "cover", windows=[window("s", 64, 32)])
    project.backup(tmp_path / "all.zip")
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert set(archive.namelist()) == {"project.sqlite", "images/s_x64_y32.png"}
        archive.extractall(tmp_path / "restored")
    restored = Project.open(tmp_path / "restored")
    assert [each.slide.name for each in restored.images() if each.slide] == ["s"]
    assert restored.integrity() == ()


def test_commands(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (folder / "s.tif").rename(folder / "s.svs")
    (tmp_path / "groups.csv").write_text("image,group\ns.svs,anna\nt,berta\na.png,anna\n")
    assert main(["init", "project", "--images", "data", "--window", "64", "--groups", "groups.csv"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "project: 2 slides added, 2 in all",
        "project: 1 image added, 1 in all",
    ]
    project = Project.open(Path("project"))
    assert [(each.name, each.group, each.window_px) for each in project.slides()] == [
        ("s", "anna", 64),
        ("t", "berta", 64),
    ]
    assert [each.group for each in project.images()] == ["anna"]
    project.draw_validation(share=0.0)
    project.add_suggestions([], "cover", windows=[window("s", 64, 32)])
    assert main(["status", "project"]) == 0
    assert "slide s: 1 windows, 0 of them annotated, for training" in capsys.readouterr().out
    assert main(["mark", "project", "t", "--unusable", "folded"]) == 0
    assert main(["mark", "project", "s_x64_y32", "--unusable", "out of focus"]) == 0
    assert capsys.readouterr().out.splitlines() == ["t: unusable (folded)", "s_x64_y32: unusable (out of focus)"]
    assert [each.unusable_reason for each in Project.open(Path("project")).slides()] == [None, "folded"]
    assert main(["mark", "project", "u", "--usable"]) == 2
    capsys.readouterr()
    assert main(["backup", "project", "all.zip"]) == 0
    assert "2 files outside the project" in capsys.readouterr().out
    assert main(["init", "other", "--images", "data/s.svs", "--pixel-size", "0.01"]) == 2
    assert "has pixels of 0.5 µm" in capsys.readouterr().err
    assert not Path("other").exists()
    (tmp_path / "more").mkdir()
    write_slide(tmp_path / "more" / "a.tif", pixels(4))  # there is an image of that name
    image_folder(tmp_path / "more", "b", first_seed=9)
    assert main(["init", "project", "--images", "more"]) == 2
    assert "has the name of an image of the project" in capsys.readouterr().err
    assert "b" not in {each.name for each in Project.open(Path("project")).images()}, "all or nothing"
    write_slide(folder / "a.tif", pixels(4))
    assert main(["init", "other", "--images", "data"]) == 2
    assert "has the name of a slide beside it" in capsys.readouterr().err
