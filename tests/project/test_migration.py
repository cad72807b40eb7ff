"""Schemas: the first one for ever, older ones migrated after a copy, newer ones refused."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from frugalseg.errors import InputError
from frugalseg.images import read_image, write_label_map
from frugalseg.project import Drawings, JobQueue, Project, SlidePlace, migration, schema
from frugalseg.slides import open_slide

from .builders import small_project, tree, two_objects
from .make_golden import GOLDEN, GOLDEN_2, GOLDEN_3, SLIDES

FOLDER = migration.FOLDER

LAST = schema.HEAD
NEXT = f"{int(LAST) + 1:04}"

ADDED = '''
"""One more revision, for tests."""
import sqlalchemy as sa
from alembic import op
revision = "{revision}"
down_revision = "{before}"
def upgrade():
    op.create_table("notes", sa.Column("id", sa.Integer, primary_key=True))
    with op.batch_alter_table("images") as batch:
        batch.add_column(sa.Column("stain", sa.String))
        batch.alter_column("group", new_column_name="patient")
    {last}
'''


@pytest.fixture
def with_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one revision more than the package has; that one may still be changed."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for script in FOLDER.glob("r*.py"):
        shutil.copy(script, folder)
    write_added(folder, "pass")
    monkeypatch.setattr(migration, "FOLDER", folder)
    monkeypatch.setattr(schema, "HEAD", NEXT)
    return folder


def write_added(folder: Path, last: str) -> None:
    (folder / f"r{NEXT}_added.py").write_text(ADDED.format(revision=NEXT, before=LAST, last=last))


def columns(database: Path, table: str) -> list[str]:
    connection = sqlite3.connect(database)
    try:
        return [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    finally:
        connection.close()


def revision(database: Path) -> str:
    connection = sqlite3.connect(database)
    try:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])
    finally:
        connection.close()


def test_head_is_the_newest_revision() -> None:
    assert migration.known_revisions()[-1] == schema.HEAD


def test_revisions_make_the_tables_that_are_used(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project")
    with project._store.read() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        assert compare_metadata(context, schema.Base.metadata) == []


def test_older_schema_is_copied_aside_and_migrated(
    tmp_path: Path, with_another: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(migration, "FOLDER", FOLDER)
        patch.setattr(schema, "HEAD", LAST)
        project = small_project(tmp_path, "a", "b")
        project.annotate("a", two_objects(), complete=True, source="test")
    database = project.folder / "project.sqlite"
    assert revision(database) == LAST
    Project.open(project.folder)
    assert revision(database) == NEXT
    assert {"stain", "patient"} <= set(columns(database, "images"))
    assert columns(database, "annotations"), "tables that point at the one made anew are still there"
    kept = project.folder / f"project.sqlite.backup-{LAST}"
    assert revision(kept) == LAST
    assert columns(kept, "images")[1:4] == ["name", "sha256", "path"]
    before = tree(project.folder)
    Project.open(project.folder)
    assert tree(project.folder) == before, "the second time there is nothing to do"


def test_migration_that_fails_changes_nothing(
    tmp_path: Path, with_another: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(migration, "FOLDER", FOLDER)
        patch.setattr(schema, "HEAD", LAST)
        project = small_project(tmp_path, "a")
    write_added(with_another, "raise RuntimeError('half-way')")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="half-way"):
            Project.open(project.folder)
    monkeypatch.setattr(schema, "HEAD", LAST)
    assert [image.name for image in Project.open(project.folder).images()] == ["a"]
    assert "stain" not in columns(project.folder / "project.sqlite", "images")
    assert columns(project.folder / "project.sqlite", "notes") == []
    assert (project.folder / f"project.sqlite.backup-{LAST}-2").is_file(), "an earlier copy is not written over"


def test_newer_schema_is_refused_and_untouched(
    tmp_path: Path, with_another: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Project.create(tmp_path / "project").folder
    monkeypatch.setattr(migration, "FOLDER", FOLDER)
    monkeypatch.setattr(schema, "HEAD", LAST)
    before = tree(folder)
    with pytest.raises(InputError, match=rf"newer frugalseg \(schema {NEXT}, this one has {LAST}\)"):
        Project.open(folder)
    assert tree(folder) == before


@pytest.mark.parametrize("golden", [GOLDEN, GOLDEN_2], ids=lambda path: path.name)
def test_golden_projects_open(tmp_path: Path, golden: Path) -> None:
    shutil.copytree(golden, tmp_path / "project")
    project = Project.open(tmp_path / "project")
    assert project.class_names == ("gland",)
    assert [(image.name, image.group, image.role) for image in project.images() if image.slide is None] == [
        ("a", "p1", "pool"),
        ("b", "p2", "validation"),
        ("c", "p3", "pool"),
    ]
    assert project.integrity() == ()
    assert project.slides() == ()
    (labelled,) = project.labelled()
    assert labelled.name == "a"
    assert labelled.annotation is not None
    assert (labelled.annotation.version, labelled.annotation.n_objects) == (2, 2)
    assert (project.labels(labelled.annotation) == two_objects()).all()
    assert project.image("c").unusable_reason == "out of focus"
    trained = project.newest_trained()
    assert trained is not None
    assert (trained.labelled, trained.metrics, len(trained.members)) == ({"a": 2}, {"object_dice": 0.75}, 1)
    assert [(each.image, each.reason.uncertainty) for each in project.suggestions()] == [("c", 0.5)]


def test_golden_project_of_version_2_keeps_its_strokes_and_jobs(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN_2, tmp_path / "project")
    project = Project.open(tmp_path / "project")
    drawings, a = Drawings(project), project.image("a").id
    state = drawings.state(a)
    assert (state.edit, state.next_label, state.accepted) == ("v2.1", 5, (4,))
    expected = two_objects()
    expected[1:3, 20:23] = 4
    assert (drawings.labels(a, (0, 0, 32, 24))[1] == expected).all()
    assert [(job.kind, job.status, job.message) for job in JobQueue(project).list()] == [
        ("suggest", "failed", "for the golden project")
    ]
    assert [each.status for each in project.rounds()] == ["trained", "abandoned"]


def test_golden_project_of_version_3_keeps_its_slide_and_window(tmp_path: Path) -> None:
    for name in (GOLDEN_3.name, SLIDES):
        shutil.copytree(GOLDEN_3.parent / name, tmp_path / name)
    project = Project.open(tmp_path / GOLDEN_3.name)
    (problem,) = project.integrity()
    assert problem.where.endswith("s.tif")
    assert project.relink("slides", tmp_path / SLIDES) == 1
    assert project.integrity() == ()
    (slide,) = project.slides()
    assert (slide.name, slide.width, slide.height, slide.pixel_size_um, slide.factor) == ("s", 192, 160, 0.5, 1.0)
    assert (slide.window_px, slide.role, slide.tile_levels) == (64, "pool", 1)
    window = project.image("s_x64_y48")
    assert window.slide == SlidePlace(slide.id, "s", 64, 48, 32, 24, 192, 160, 1)
    assert (window.group, window.role, window.pixel_size_um) == ("s", "pool", 0.5)
    with open_slide(slide.path) as opened:
        assert (read_image(window.path) == opened.read_region(0, 64, 48, 32, 24)).all()
    assert {each.name for each in project.labelled()} == {"a", "s_x64_y48"}
    assert [each.image for each in project.suggestions()] == ["s_x64_y48"]


def test_golden_project_can_go_on(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN, tmp_path / "project")
    project = Project.open(tmp_path / "project")
    project.mark_usable("c")
    write_label_map(tmp_path / "masks" / "c.png", two_objects())
    assert project.import_masks(tmp_path / "masks").imported == ("c",)
    assert {image.name for image in project.labelled()} == {"a", "c"}
