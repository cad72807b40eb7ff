"""A project in one file, and whether a project is sound."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select

from frugalseg.atomic import atomic_path
from frugalseg.errors import InputError, Problem
from frugalseg.images import is_image_name
from frugalseg.project.images import file_fault
from frugalseg.project.queries import load_images, load_slides
from frugalseg.project.schema import AnnotationRow
from frugalseg.project.store import DATABASE, Store, check_database, copy_database

CHECKPOINTS = "checkpoints"
"""Folders of this name are left out of a backup: what lies there is large, and of use only while a training runs."""


def backup(store: Store, target: Path) -> int:
    """Write the project as one zip file, atomically; returns the number of its files.

    Notes
    -----
    The database is copied first, as of one moment. Files that it names are never changed, so they fit it whatever is
    written meanwhile. Large images and slides under a root are not in it; their names and fingerprints are.

    Raises
    ------
    InputError
        `target` is a folder or not named ``.zip``, or a file that the database names is missing.
    """
    if target.is_dir() or target.suffix.lower() != ".zip":
        raise InputError(target, "is a folder" if target.is_dir() else "a backup is a .zip file")
    with tempfile.TemporaryDirectory(prefix="frugalseg-backup-") as folder:
        snapshot = Path(folder) / DATABASE
        copy_database(store.database, snapshot)
        files = [*_named_files(store.folder, snapshot), *_round_files(store.folder)]
        missing = [path for path in files if not path.is_file()]
        if missing:
            raise InputError.of(Problem(str(path), "is missing") for path in missing)
        with (
            atomic_path(target) as temporary,
            zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive,
        ):
            archive.write(snapshot, DATABASE)
            for path in files:
                packed = zipfile.ZIP_STORED if is_image_name(path) else zipfile.ZIP_DEFLATED
                archive.write(path, path.relative_to(store.folder).as_posix(), packed)
    return 1 + len(files)


def _named_files(folder: Path, snapshot: Path) -> list[Path]:
    """Small images and all versions of masks, as a copy of the database names them."""
    with contextlib.closing(sqlite3.connect(snapshot)) as connection:
        images = connection.execute("SELECT path FROM images WHERE root_id IS NULL ORDER BY path").fetchall()
        images += connection.execute("SELECT path FROM slides WHERE root_id IS NULL ORDER BY path").fetchall()
        masks = connection.execute("SELECT mask FROM annotations ORDER BY mask").fetchall()
    return [folder / row[0] for row in (*images, *masks)]


def _round_files(folder: Path) -> Iterator[Path]:
    """What rounds have written, without checkpoints and what is being written."""
    for path in sorted((folder / "rounds").rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and CHECKPOINTS not in parts and not any(part.startswith(".") for part in parts):
            yield path


def integrity(store: Store) -> tuple[Problem, ...]:
    """Everything that is wrong with a project: its database, and files that are missing or changed."""
    problems = check_database(store.database, thorough=True)
    if problems:  # what a damaged database says of files is worth nothing
        return tuple(problems)
    with store.read() as session:
        files = [(image.path, image.sha256) for image in load_images(session, store.folder)]
        files += [(slide.path, slide.sha256) for slide in load_slides(session, store.folder)]
        files += [(store.folder / row.mask, row.sha256) for row in session.scalars(select(AnnotationRow))]
    faults = ((path, file_fault(path, sha256)) for path, sha256 in files)
    return tuple(Problem(str(path), fault) for path, fault in faults if fault is not None)
