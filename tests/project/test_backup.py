"""One file that holds the project, and what is said of damage."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from frugalseg.errors import InputError
from frugalseg.project import Project, check_images

from .builders import image_folder, small_project, two_objects


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = small_project(tmp_path, "a", "b")
    project.annotate("a", two_objects(), complete=True, source="test")
    member = project.folder / "rounds" / "000" / "member-0"
    for name in ("model.json", "checkpoints/step-1.safetensors", ".frugalseg-1-2-3-x/model.json"):
        (member / name).parent.mkdir(parents=True, exist_ok=True)
        (member / name).write_text("content")
    return project


def test_unzipped_backup_is_the_project(tmp_path: Path, project: Project) -> None:
    count = project.backup(tmp_path / "kept" / "backup.zip")
    with zipfile.ZipFile(tmp_path / "kept" / "backup.zip") as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        archive.extractall(tmp_path / "restored")
    assert sorted(names) == [
        "images/a.png",
        "images/b.png",
        "masks/a.v1.png",
        "project.sqlite",
        "rounds/000/member-0/model.json",
    ]
    assert count == len(names)
    restored = Project.open(tmp_path / "restored")
    assert restored.integrity() == ()
    assert [image.name for image in restored.images()] == ["a", "b"]
    (version,) = restored.history("a")
    assert (restored.labels(version) == two_objects()).all()
    restored.annotate("b", two_objects(), complete=True, source="test")
    assert project.image("b").annotation is None


def test_large_images_are_not_in_it(tmp_path: Path, project: Project) -> None:
    paths = image_folder(tmp_path / "scans", "large", first_seed=20)
    project.add_images(check_images(paths, small_bytes=10), ("scans", tmp_path / "scans"))
    project.backup(tmp_path / "backup.zip")
    with zipfile.ZipFile(tmp_path / "backup.zip") as archive:
        assert not any("large" in name for name in archive.namelist())
        archive.extractall(tmp_path / "restored")
    assert Project.open(tmp_path / "restored").image("large").root == "scans"


def test_backup_that_cannot_be_whole_is_not_written(tmp_path: Path, project: Project) -> None:
    (project.folder / "images" / "b.png").unlink()
    with pytest.raises(InputError, match=r"b\.png: is missing"):
        project.backup(tmp_path / "backup.zip")
    assert not (tmp_path / "backup.zip").exists()


def test_backup_is_a_zip_file(tmp_path: Path, project: Project) -> None:
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / "precious.png").write_text("")
    for name in ("folder.zip", "precious.png"):
        with pytest.raises(InputError, match=name):
            project.backup(tmp_path / name)


def test_integrity_names_every_file_that_is_not_what_it_was(project: Project) -> None:
    assert project.integrity() == ()
    with (project.folder / "images" / "a.png").open("ab") as stream:
        stream.write(b"\0")
    (project.folder / "masks" / "a.v1.png").unlink()
    assert [(Path(each.where).name, each.reason) for each in project.integrity()] == [
        ("a.png", "is not the file it was when it was added"),
        ("a.v1.png", "is missing"),
    ]


def test_integrity_looks_into_the_database(tmp_path: Path, project: Project) -> None:
    shutil.copytree(project.folder, tmp_path / "copy")
    copy = Project.open(tmp_path / "copy")
    database = tmp_path / "copy" / "project.sqlite"
    content = bytearray(database.read_bytes())
    content[8192:12288] = b"\xab" * 4096
    database.write_bytes(content)
    found = copy.integrity()
    assert found
    assert all(each.where == str(database) and "\n" not in each.reason for each in found)
