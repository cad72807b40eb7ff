"""The commands of a project: what they print, what they refuse, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from frugalseg.cli import main
from frugalseg.images import write_image, write_label_map
from frugalseg.project import Project, check_images

from .builders import glas_folder, image_folder, picture, small_project, tree, two_objects

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(capsys: Captured, line: str) -> list[str]:
    """The complaints of a command that exits with 2."""
    capsys.readouterr()
    assert main(line.split()) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(each.startswith("frugalseg: ") or ": layout " in each for each in lines)
    return [each for each in lines if each.startswith("frugalseg: ")]


def test_init_then_import_as_it_says(tmp_path: Path, capsys: Captured) -> None:
    glas_folder(tmp_path / "data", 3)
    assert main(["init", "project", "--images", "data"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "project: 3 images added, 3 in all"
    hint = told[1].partition("to import them: frugalseg ")[2]
    assert hint == "import project data"
    assert all(image.annotation is None for image in Project.open(tmp_path / "project").images())
    assert main(hint.split()) == 0
    assert capsys.readouterr().out.startswith("project: 3 masks imported, 3 images annotated in all\n6 objects, ")
    assert main(["import", "project", "data", "--incomplete", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["imported"] == ["train_1", "train_2", "train_3"]
    assert document["cost"]["objects"] == 6


def test_commands_say_what_they_do_and_no_more(tmp_path: Path) -> None:
    glas_folder(tmp_path / "data", 1)
    command = [sys.executable, "-m", "frugalseg", "init", "project", "--images", "data"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["data: layout GlaS, 1 images, 1 with mask (train 1), pixels of 0.5 µm"]


def test_init_again_adds_what_is_new(tmp_path: Path, capsys: Captured) -> None:
    image_folder(tmp_path / "data", "a", "b")
    (tmp_path / "groups.csv").write_text("image,group\na,p1\nb,p1\nc,p2\n")
    assert main(["init", "project", "--images", "data", "--classes", "gland,nerve"]) == 0
    write_image(tmp_path / "data" / "c.png", picture(8))
    capsys.readouterr()
    assert main(["init", "project", "--images", "data", "--groups", "groups.csv", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["added"] == ["c"]
    assert document["duplicates"] == ["a.png", "b.png"]
    assert document["regrouped"] == ["a", "b"]
    assert document["classes"] == ["gland", "nerve"]
    assert [image.group for image in Project.open(tmp_path / "project").images()] == ["p1", "p1", "p2"]
    assert refused(capsys, "init project --images data --classes tumour") == [
        "frugalseg: --classes: cannot be changed, project has gland,nerve"
    ]


def test_init_takes_classes_and_pixel_size_from_the_data(tmp_path: Path) -> None:
    write_image(tmp_path / "set" / "images" / "x.png", picture(0), pixel_size_um=0.25)
    for kind in ("nerve", "gland"):
        write_label_map(tmp_path / "set" / "masks" / kind / "x.png", two_objects())
    assert main(["init", "project", "--images", "set"]) == 0
    project = Project.open(tmp_path / "project")
    assert project.class_names == ("gland", "nerve")
    assert project.image("x").pixel_size_um == pytest.approx(0.25, rel=1e-3)


def test_init_that_fails_leaves_nothing(tmp_path: Path, capsys: Captured) -> None:
    paths = image_folder(tmp_path / "data", "a", "b", "c")
    for path in paths[1:]:
        path.write_bytes(path.read_bytes()[:-30])
    assert len(refused(capsys, "init project --images data")) == 2
    assert not (tmp_path / "project").exists()
    (tmp_path / "empty").mkdir()
    assert "holds no images" in refused(capsys, "init project --images empty")[0]
    assert "does not exist" in refused(capsys, "init project --images nowhere")[0]
    assert "is not empty" in refused(capsys, "init data --images data")[0]
    assert "is a file" in refused(capsys, "init data/a.png --images data")[0]


def test_import_refuses_in_lines(tmp_path: Path, capsys: Captured) -> None:
    glas_folder(tmp_path / "data", 2)
    assert main(["init", "project", "--images", "data"]) == 0
    write_label_map(tmp_path / "masks" / "train_1.png", two_objects()[1:])
    write_label_map(tmp_path / "masks" / "train_2.png", two_objects()[2:])
    before = tree(tmp_path / "project")
    assert len(refused(capsys, "import project masks")) == 2
    assert "has no subset" in refused(capsys, "import project masks --subset testA")[0]
    assert "is no project" in refused(capsys, "import data masks")[0]
    assert "does not exist" in refused(capsys, "import nothing masks")[0]
    assert tree(tmp_path / "project") == before


def test_mark(tmp_path: Path, capsys: Captured) -> None:
    small_project(tmp_path, "a", "b")
    assert main(["mark", "project", "a", "--unusable", "out of focus"]) == 0
    assert capsys.readouterr().out == "a: unusable (out of focus)\n"
    assert main(["mark", "project", "a", "--usable"]) == 0
    assert capsys.readouterr().out == "a: usable\n"
    assert refused(capsys, "mark project x --usable") == ["frugalseg: x: is no image of this project"]
    for words in (["mark", "project", "a"], ["mark", "project", "a", "--usable", "--unusable", "x"]):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 2


def test_relink(tmp_path: Path, capsys: Captured) -> None:
    project = Project.create(tmp_path / "project")
    paths = image_folder(tmp_path / "scans", "a", "b")
    project.add_images(check_images(paths, small_bytes=10), ("scans", tmp_path / "scans"))
    (tmp_path / "scans").rename(tmp_path / "disk")
    assert main(["relink", "project", "scans", "disk"]) == 0
    assert capsys.readouterr().out == "scans: disk, 2 files found there\n"
    assert refused(capsys, "relink project scan disk") == [
        "frugalseg: scan: is no root of this project; there are: scans"
    ]
    (tmp_path / "disk" / "a.png").unlink()
    assert "is missing" in refused(capsys, "relink project scans disk")[0]


def test_backup(tmp_path: Path, capsys: Captured) -> None:
    small_project(tmp_path, "a")
    assert main(["backup", "project", "kept.zip", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == 2
    assert (tmp_path / "kept.zip").is_file()
    assert refused(capsys, "backup project data/a.png") == ["frugalseg: data/a.png: a backup is a .zip file"]


def test_damaged_database_is_one_line(tmp_path: Path, capsys: Captured) -> None:
    small_project(tmp_path, "a")
    (tmp_path / "project" / "project.sqlite").write_bytes(b"garbage" * 1000)
    for line in (
        "mark project a --usable",
        "import project data",
        "backup project b.zip",
        "init project --images data",
    ):
        assert refused(capsys, line) == ["frugalseg: project/project.sqlite: is damaged: not an SQLite database"]
