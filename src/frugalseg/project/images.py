"""Images of a project: added, marked, and found again where their root has moved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from frugalseg.atomic import write_bytes
from frugalseg.errors import InputError, Problem
from frugalseg.images.guard import system_reason
from frugalseg.project.candidates import Candidate
from frugalseg.project.hashing import SMALL_BYTES, same_file
from frugalseg.project.lock import project_lock
from frugalseg.project.queries import image_row
from frugalseg.project.records import Added
from frugalseg.project.schema import ImageRow, RootRow, SlideRow
from frugalseg.project.store import Store

FOLDER = "images"

Root = tuple[str, Path]
"""A folder outside the project: its name and where it is now."""


def add_candidates(store: Store, candidates: Sequence[Candidate], root: Root | None) -> Added:
    """Copy small images in, register large ones; all of them or, with every problem named, none.

    Notes
    -----
    Files come first, rows afterwards in one transaction: a kill leaves files that no row names, which a later call
    writes over, and never a row without its file.
    """
    with project_lock(store.folder):
        with store.read() as session:
            known = {row.sha256: row.name for row in session.scalars(select(ImageRow))}
            roots = {row.name: Path(row.path) for row in session.scalars(select(RootRow))}
            slides = {name.casefold() for name in session.scalars(select(SlideRow.name))}
        firsts: dict[str, Candidate] = {}
        for each in candidates:
            firsts.setdefault(each.sha256, each)
        new = [each for each in firsts.values() if each.sha256 not in known]
        problems = [*_name_problems(new, known), *_root_problems(new, root, roots)]
        problems += _occupied(store.folder, new, known)
        problems += [
            Problem(str(each.file), "has the name of a slide of the project")
            for each in new
            if each.name.casefold() in slides
        ]
        if problems:
            raise InputError.of(problems)
        copied: list[Path] = []
        try:
            for candidate in new:
                _copy(store.folder, candidate, copied)
            with store.write() as session:
                _insert(session, new, root)
                regrouped = _regroup(session, candidates)
        except Exception:  # not Ctrl-C, which may come after the rows: files without rows do no harm
            for path in copied:
                path.unlink(missing_ok=True)
            raise
    taken = {id(each) for each in new}
    duplicates = tuple(each.file.name for each in candidates if id(each) not in taken)
    return Added(tuple(each.name for each in new), duplicates, regrouped)


def _name_problems(new: Iterable[Candidate], known: Mapping[str, str]) -> list[Problem]:
    names = {name.casefold(): name for name in known.values()}
    return [
        Problem(str(each.file), f"is another image than {names[each.name.casefold()]}, which the project already has")
        for each in new
        if each.name.casefold() in names
    ]


def _root_problems(new: Iterable[Candidate], root: Root | None, roots: Mapping[str, Path]) -> list[Problem]:
    large = [each for each in new if each.large]
    if not large:
        return []
    limit = f"{SMALL_BYTES // 2**20} MiB"
    if root is None:
        reason = f"is larger than {limit} and stays where it is: give its folder a name (--root NAME)"
        return [Problem(str(each.file), reason) for each in large]
    name, folder = root
    if not name.strip():
        return [Problem("root", "needs a name")]
    if name in roots and roots[name].resolve() != folder.resolve():
        return [Problem(name, f"is the name of the root {roots[name]} already; choose another one, or relink it")]
    return [
        Problem(str(each.file), f"does not lie in the root {name} ({folder})")
        for each in large
        if not each.file.resolve().is_relative_to(folder.resolve())
    ]


def _occupied(folder: Path, new: Iterable[Candidate], known: Mapping[str, str]) -> list[Problem]:
    """Files in the way that hold something else; what a killed call left behind holds the same."""
    problems = []
    names = {name.casefold() for name in known.values()}
    for each in new:
        target = folder / FOLDER / each.file_name
        if each.large or each.name.casefold() in names or not target.exists():
            continue
        if not same_file(target, each.sha256):
            problems.append(Problem(str(target), "is in the way, and no image of the project; move it elsewhere"))
    return problems


def _copy(folder: Path, candidate: Candidate, copied: list[Path]) -> None:
    """Write a small image's bytes into the project, and its path to `copied`."""
    target = folder / FOLDER / candidate.file_name
    if candidate.large or target.exists():
        return
    content = candidate.file.read_bytes()
    if hashlib.sha256(content).hexdigest() != candidate.sha256:
        raise InputError(candidate.file, "changed while it was added; try again")
    write_bytes(target, content)
    copied.append(target)


def _insert(session: Session, new: Iterable[Candidate], root: Root | None) -> None:
    now = datetime.now(UTC)
    row: RootRow | None = None
    for each in new:
        if each.large and root is not None and row is None:
            row = session.scalar(select(RootRow).where(RootRow.name == root[0]))
            if row is None:
                row = RootRow(name=root[0], path=str(root[1].resolve()))
                session.add(row)
        path = each.file.resolve().relative_to(root[1].resolve()) if each.large and root else Path(each.file_name)
        session.add(
            ImageRow(
                name=each.name,
                sha256=each.sha256,
                path=path.as_posix() if each.large else f"{FOLDER}/{path.as_posix()}",
                root=row if each.large else None,
                height=each.height,
                width=each.width,
                pixel_size_um=each.pixel_size_um,
                group=each.group,
                added_at=now,
            )
        )


def _regroup(session: Session, candidates: Iterable[Candidate]) -> tuple[str, ...]:
    """Groups of images that had none; once an image has a role its group decides nothing any more."""
    groups = {each.sha256: each.group for each in candidates if each.group is not None}
    rows = session.scalars(select(ImageRow).where(ImageRow.group.is_(None), ImageRow.role.is_(None)))
    changed = [row for row in rows if row.sha256 in groups]
    for row in changed:
        row.group = groups[row.sha256]
    return tuple(row.name for row in changed)


def mark(store: Store, name: str, reason: str | None) -> None:
    """Say why an image or a slide is unusable, or, by None, that it is not."""
    if reason is not None and not reason.strip():
        raise InputError(name, "needs a reason to be unusable")
    with store.write() as session:
        slide = session.scalar(select(SlideRow).where(SlideRow.name == name))
        is_image = session.scalar(select(ImageRow.id).where(ImageRow.name == name)) is not None
        row = slide if slide is not None and not is_image else image_row(session, name)
        row.unusable_reason = None if reason is None else " ".join(reason.split())


def relink(store: Store, name: str, folder: Path) -> int:
    """Say where a root is now; all images and slides below it must be there, and be the same. Returns how many."""
    if not folder.is_dir():
        raise InputError(folder, "is not a folder" if folder.exists() else "does not exist")
    with store.locked_write() as session:
        root = session.scalar(select(RootRow).where(RootRow.name == name))
        if root is None:
            names = ", ".join(session.scalars(select(RootRow.name).order_by(RootRow.name))) or "none"
            raise InputError(name, f"is no root of this project; there are: {names}")
        images: list[ImageRow | SlideRow] = [
            *session.scalars(select(ImageRow).where(ImageRow.root_id == root.id).order_by(ImageRow.name)),
            *session.scalars(select(SlideRow).where(SlideRow.root_id == root.id).order_by(SlideRow.name)),
        ]
        faults = ((folder / image.path, file_fault(folder / image.path, image.sha256)) for image in images)
        problems = [Problem(str(path), fault) for path, fault in faults if fault is not None]
        if problems:
            raise InputError.of(problems)
        root.path = str(folder.resolve())
        return len(images)


def file_fault(path: Path, sha256: str) -> str | None:
    """Why a file is not the one whose hash or fingerprint was stored, or None if it is."""
    try:
        return None if same_file(path, sha256) else "is not the file it was when it was added"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return system_reason(error)
