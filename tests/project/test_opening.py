"""Projects made and opened, and everything that is none refused in one line."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from frugalseg.errors import InputError
from frugalseg.project import Project

from .builders import small_project, tree

READER = """
import os, sys
from pathlib import Path
from frugalseg.errors import InputError
from frugalseg.project import Project
if os.geteuid() == 0:  # root may write anywhere; what is imported late must be there before
    Project.open(Path(sys.argv[1])).images()
    os.setuid(65534)
project = Project.open(Path(sys.argv[1]))
print([image.name for image in project.images()])
for write in (lambda: project.mark_unusable("a", "blurred"), lambda: project.draw_validation()):
    try:
        write()
    except (InputError, OSError) as error:
        print(type(error).__name__)
"""


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        Project.open(path)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_created_project_reopens(tmp_path: Path) -> None:
    made = Project.create(tmp_path / "deep" / "project", ("gland", "nerve"))
    assert made.images() == ()
    again = Project.open(tmp_path / "deep" / "project")
    assert again.class_names == ("gland", "nerve")
    assert {path.name for path in again.folder.iterdir()} == {
        "images",
        "masks",
        "rounds",
        "project.sqlite",
        "project.lock",
    }


def test_database_writes_ahead_and_synchronously(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project")
    with sqlite3.connect(project.folder / "project.sqlite") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with project._store.read() as session:
        assert session.connection().exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert session.connection().exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert session.connection().exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000


@pytest.mark.parametrize("classes", [(), ("a", "a"), ("a", " ")])
def test_classes_are_named_each_once(tmp_path: Path, classes: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="classes"):
        Project.create(tmp_path / "project", classes)
    assert not (tmp_path / "project").exists()


def test_project_is_made_in_its_own_folder_only(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("do not lose")
    (tmp_path / "file").write_text("")
    Project.create(tmp_path / "project")
    for name, reason in {"full": "thesis.txt", "file": "is a file", "project": "is a project already"}.items():
        with pytest.raises(InputError, match=reason):
            Project.create(tmp_path / name)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_a_killed_creation_is_taken_up(tmp_path: Path) -> None:
    (tmp_path / "project" / "images").mkdir(parents=True)
    (tmp_path / "project" / "project.lock").touch()
    assert Project.create(tmp_path / "project").images() == ()


def test_what_is_no_project_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    assert "does not exist" in refusal(tmp_path / "nothing")
    assert "is a file, a project is a folder" in refusal(tmp_path / "file")
    assert "is no project" in refusal(tmp_path / "empty")


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 300, b"SQLite format 3\x00" + b"\x07" * 9000])
def test_garbage_in_place_of_the_database_is_one_line(tmp_path: Path, content: bytes) -> None:
    project = Project.create(tmp_path / "project")
    (project.folder / "project.sqlite").write_bytes(content)
    assert "project.sqlite: is damaged" in refusal(project.folder)


def test_every_cut_of_the_database_is_noticed(tmp_path: Path) -> None:
    project = small_project(tmp_path, "a", "b")
    database = project.folder / "project.sqlite"
    whole = database.read_bytes()
    for size in range(len(whole) - 1, 0, -1511):
        database.write_bytes(whole[:size])
        assert "is damaged" in refusal(project.folder)


def test_overwritten_page_is_noticed(tmp_path: Path) -> None:
    project = small_project(tmp_path, "a", "b")
    database = project.folder / "project.sqlite"
    content = bytearray(database.read_bytes())
    content[4096:8192] = b"\xab" * 4096
    database.write_bytes(content)
    assert "is damaged" in refusal(project.folder)


def test_database_of_another_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    connection = sqlite3.connect(tmp_path / "project" / "project.sqlite")
    connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    assert "is not the database of a frugalseg project" in refusal(tmp_path / "project")


def test_opening_and_reading_write_nothing(tmp_path: Path) -> None:
    folder = small_project(tmp_path, "a", "b").folder
    before, changed = tree(folder), (folder / "project.sqlite").stat().st_mtime_ns
    project = Project.open(folder)
    assert len(project.images()) == 2
    assert project.integrity() == ()
    assert project.newest_trained() is None
    assert tree(folder) == before
    assert (folder / "project.sqlite").stat().st_mtime_ns == changed


@pytest.fixture
def read_only_project() -> Iterator[Path]:
    """A project that its reader may not write, outside of pytest's own folder, which only its owner may enter."""
    with tempfile.TemporaryDirectory(prefix="frugalseg-tests-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        small_project(folder, "a", "b")
        paths = [folder / "project", *(folder / "project").rglob("*")]
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield folder / "project"
        for path in paths:
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no read-only folders")
def test_read_only_folder_is_read_and_not_written(read_only_project: Path) -> None:
    before = tree(read_only_project)
    done = subprocess.run([sys.executable, "-c", READER, str(read_only_project)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['a', 'b']", "InputError", "InputError"]
    assert tree(read_only_project) == before


def test_project_may_be_moved(tmp_path: Path) -> None:
    folder = small_project(tmp_path, "a").folder
    shutil.move(folder, tmp_path / "other place")
    moved = Project.open(tmp_path / "other place")
    assert moved.image("a").path == tmp_path / "other place" / "images" / "a.png"
    assert moved.integrity() == ()
