"""Whole slides of a project: found, judged, and registered where they lie."""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from frugalseg.atomic import atomic_path
from frugalseg.errors import InputError, Problem
from frugalseg.images import image_stem, is_image_name, is_mask_name, read_header
from frugalseg.images.guard import system_reason
from frugalseg.images.names import is_mask_beside
from frugalseg.project.candidates import name_fault
from frugalseg.project.hashing import identity
from frugalseg.project.images import Root
from frugalseg.project.lock import project_lock
from frugalseg.project.records import Added
from frugalseg.project.schema import ImageRow, RootRow, SlideRow
from frugalseg.project.store import Store
from frugalseg.slides import ReaderProcess, Slide, is_slide

FOLDER = "slides"
"""Of the project, for slides that came by the page and have no other place."""

WINDOW_PX = 1024
"""Usual side of a window, in its own pixels."""

SMALLEST_WINDOW_PX, LARGEST_WINDOW_PX = 64, 4096

TILE_PX = 512
"""Side of the tiles in which the annotation page shows a slide."""

_COARSEST = 16
"""A tile of the page is never made from more than so many pixels of a level, along a side, for one of its own."""

_LONGEST = 160
"""Bytes of a slide's name: its windows' names are longer."""


@dataclass(frozen=True)
class SlideSettings:
    """How windows are cut from slides.

    Attributes
    ----------
    pixel_size_um
        Of a window's pixel; None takes those of level 0.
    window_px
        Side of a window, in its own pixels.
    """

    pixel_size_um: float | None = None
    window_px: int = WINDOW_PX


@dataclass(frozen=True)
class SlideCandidate:
    """A slide that can be read, with a usable name."""

    name: str
    path: Path
    sha256: str
    height: int
    width: int
    pixel_size_um: float | None
    factor: float
    window_px: int
    tile_levels: int
    group: str | None = None


def divide_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    """Whole slides in a folder (or the one slide that it is), and the pictures beside them that are none.

    A flat TIFF that can be decoded whole stays an image, however large. What cannot be opened counts as a slide, so
    that :func:`check_slides` says what is wrong with it. A mask beside its slide is neither.
    """
    if not folder.is_dir() or is_slide(folder):
        return ([folder], []) if is_slide(folder) else ([], [])
    inside = sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    stems = {image_stem(each) for each in inside}
    found = [each for each in inside if is_slide(each) and not is_mask_beside(each, stems)]
    if found:
        with ReaderProcess() as reader:
            found = [each for each in found if not _is_flat_image(reader, each)]
    pictures = [
        each
        for each in inside
        if each not in found and each.is_file() and is_image_name(each) and not is_mask_name(each)
    ]
    return found, pictures


def _is_flat_image(reader: ReaderProcess, path: Path) -> bool:
    if not is_image_name(path):
        return False
    with contextlib.suppress(InputError):
        read_header(path)
        with reader.open(path) as slide:
            return len(slide.levels) == 1
    return False


def check_slides(
    paths: Iterable[Path], settings: SlideSettings, groups: Mapping[str, str] | None = None
) -> tuple[SlideCandidate, ...]:
    """Open every slide and look at one place of it.

    Parameters
    ----------
    paths
        Files, or folders of OME-Zarr pictures; named by their stems.
    settings
        How windows are to be cut from them.
    groups
        Of slides, by name.

    Raises
    ------
    InputError
        With every problem: slides that cannot be read, unfit names, two different slides of one name, settings that do
        not fit.
    """
    problems: list[Problem] = []
    candidates: list[SlideCandidate] = []
    first: dict[str, SlideCandidate] = {}
    side = settings.window_px
    if not SMALLEST_WINDOW_PX <= side <= LARGEST_WINDOW_PX:
        raise InputError("window", f"must lie between {SMALLEST_WINDOW_PX} and {LARGEST_WINDOW_PX} pixels, not {side}")
    size = settings.pixel_size_um
    if size is not None and not 0 < size < math.inf:
        raise InputError("pixel size", f"must be a positive number, not {size}")
    with ReaderProcess() as reader:
        for path in paths:
            try:
                candidate = _judge(reader, path, settings, groups or {})
            except InputError as error:
                problems += error.problems
                continue
            other = first.setdefault(candidate.name.casefold(), candidate)
            if other.sha256 != candidate.sha256:
                problems.append(Problem(str(path), f"has the name of another slide, {other.path}"))
            else:
                candidates.append(candidate)
    if problems:
        raise InputError.of(problems)
    return tuple(candidates)


def _judge(reader: ReaderProcess, path: Path, settings: SlideSettings, groups: Mapping[str, str]) -> SlideCandidate:
    name = image_stem(path)
    fault = name_fault(name, longest=_LONGEST)
    if fault is not None:
        raise InputError(path, fault)
    with reader.open(path) as slide:
        finest = slide.levels[0]
        slide.read_region(0, finest.width // 2, finest.height // 2, 16, 16)
        factor = _factor(slide, settings.pixel_size_um)
        levels, size = _tile_levels(slide), slide.pixel_size_um
    try:
        sha256 = identity(path)
    except OSError as error:
        raise InputError(path, system_reason(error)) from error
    return SlideCandidate(
        name, path, sha256, finest.height, finest.width, size, factor, settings.window_px, levels, groups.get(name)
    )


def _factor(slide: Slide, pixel_size_um: float | None) -> float:
    if pixel_size_um is None:
        return 1.0
    if slide.pixel_size_um is None:
        raise InputError(
            slide.path, f"does not say how large its pixels are, so none of {pixel_size_um:g} µm can be made"
        )
    factor = pixel_size_um / slide.pixel_size_um
    if factor < 0.95:
        raise InputError(slide.path, f"has pixels of {slide.pixel_size_um:g} µm, none of {pixel_size_um:g} µm")
    return 1.0 if abs(factor - 1) < 0.05 else factor


def _tile_levels(slide: Slide) -> int:
    """Levels of tiles, each half as fine as the one before, until one tile holds all or reading takes too much."""
    width, height = slide.levels[0].width, slide.levels[0].height
    levels = 1
    while max(width, height) > TILE_PX << (levels - 1):
        factor = 1 << levels
        if factor / max(level.downsample for level in slide.levels if level.downsample <= factor) > _COARSEST:
            break
        levels += 1
    return levels


def add_slides(store: Store, candidates: Sequence[SlideCandidate], root: Root | None) -> Added:
    """Register slides where they lie, below `root`, or copy them in; all of them or, with every problem named, none."""
    copied: list[Path] = []
    try:
        with project_lock(store.folder), store.write() as session:
            new, row = _new_slides(session, candidates, root)
            if new and root is not None and row is None:
                row = RootRow(name=root[0], path=str(root[1].resolve()))
                session.add(row)
            for each in new.values():
                place = _copy(store.folder, each, copied) if root is None else each.path.resolve()
                base = store.folder if root is None else root[1].resolve()
                session.add(_row(each, place.relative_to(base).as_posix(), row))
    except Exception:  # not Ctrl-C, which may come after the rows: files without rows do no harm
        for path in copied:
            path.unlink(missing_ok=True)
        raise
    taken = {id(each) for each in new.values()}
    others = tuple(each.path.name for each in candidates if id(each) not in taken)
    return Added(tuple(each.name for each in new.values()), others)


def check_new_slides(store: Store, candidates: Sequence[SlideCandidate], root: Root | None) -> None:
    """Refuse, with every problem named, what :func:`add_slides` would refuse."""
    with store.read() as session:
        _new_slides(session, candidates, root)


def _new_slides(
    session: Session, candidates: Sequence[SlideCandidate], root: Root | None
) -> tuple[dict[str, SlideCandidate], RootRow | None]:
    """Slides that the project does not have, by their content, and the row of the root if there is one."""
    known = set(session.scalars(select(SlideRow.sha256)))
    new: dict[str, SlideCandidate] = {}
    for each in candidates:
        if each.sha256 not in known:
            new.setdefault(each.sha256, each)
    row = None if root is None else session.scalar(select(RootRow).where(RootRow.name == root[0]))
    problems = [*_name_problems(session, new.values())]
    problems += [] if root is None or not new else _root_problems(new.values(), root, row)
    if problems:
        raise InputError.of(problems)
    return new, row


def _row(each: SlideCandidate, path: str, root: RootRow | None) -> SlideRow:
    return SlideRow(
        name=each.name,
        sha256=each.sha256,
        path=path,
        root=root,
        height=each.height,
        width=each.width,
        pixel_size_um=each.pixel_size_um,
        factor=each.factor,
        window_px=each.window_px,
        tile_levels=each.tile_levels,
        group=each.group,
        added_at=datetime.now(UTC),
    )


def _copy(folder: Path, candidate: SlideCandidate, copied: list[Path]) -> Path:
    """Write a slide's file into the project, over what a killed call has left; and its path to `copied`."""
    target = folder / FOLDER / candidate.path.name
    target.parent.mkdir(exist_ok=True)
    with atomic_path(target) as temporary:
        shutil.copyfile(candidate.path, temporary)
    copied.append(target)
    return target


def _name_problems(session: Session, new: Iterable[SlideCandidate]) -> Iterator[Problem]:
    slides = {name.casefold() for name in session.scalars(select(SlideRow.name))}
    images = {name.casefold() for name in session.scalars(select(ImageRow.name))}
    for each in new:
        if each.name.casefold() in slides:
            yield Problem(str(each.path), f"is another slide than {each.name}, which the project already has")
        if each.name.casefold() in images:
            yield Problem(str(each.path), "has the name of an image of the project")


def _root_problems(new: Iterable[SlideCandidate], root: Root, row: RootRow | None) -> Iterator[Problem]:
    name, folder = root
    if not name.strip():
        yield Problem("root", "needs a name")
    elif row is not None and Path(row.path).resolve() != folder.resolve():
        yield Problem(name, f"is the name of the root {row.path} already; choose another one, or relink it")
    for each in new:
        if not each.path.resolve().is_relative_to(folder.resolve()):
            yield Problem(str(each.path), f"does not lie in the root {name} ({folder})")
