"""Windows of slides that become images of the project: their files first, then their rows."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo
from sqlalchemy import select
from sqlalchemy.orm import Session

from frugalseg.atomic import write_bytes
from frugalseg.errors import InputError, Problem
from frugalseg.project.images import FOLDER
from frugalseg.project.records import NewWindow
from frugalseg.project.schema import ImageRow, SlideRow
from frugalseg.project.store import Store


@dataclass(frozen=True)
class WrittenWindow:
    """A window whose file is there, and whose row is not."""

    window: NewWindow
    sha256: str
    path: str
    pixel_size_um: float | None


def window_name(slide: str, x: int, y: int) -> str:
    """Name of the image that is the window of a slide with this corner, in pixels of level 0."""
    return f"{slide}_x{x}_y{y}"


def write_windows(store: Store, windows: Sequence[NewWindow]) -> list[WrittenWindow]:
    """Write the files of windows, over those that a killed call has left; the project's lock is the caller's.

    Raises
    ------
    InputError
        There is an image of such a name.
    """
    if not windows:
        return []
    with store.read() as session:
        sizes = {row.name: (row.pixel_size_um, row.factor) for row in session.scalars(select(SlideRow))}
        names = {name.casefold() for name in session.scalars(select(ImageRow.name))}
    taken = [each.name for each in windows if each.name.casefold() in names]
    if taken:
        raise InputError.of(Problem(name, "is the name of an image already") for name in taken)
    written = []
    for each in windows:
        size, factor = sizes[each.slide]
        pixel_size = None if size is None else size * factor
        content = _png(each, pixel_size)
        path = f"{FOLDER}/{each.name}.png"
        write_bytes(store.folder / path, content)
        written.append(WrittenWindow(each, hashlib.sha256(content).hexdigest(), path, pixel_size))
    return written


def _png(window: NewWindow, pixel_size_um: float | None) -> bytes:
    """The pixels, without loss; the place is said in the file, too, so that no two windows have the same content."""
    told = PngInfo()
    told.add_text("Source", f"{window.slide} {','.join(map(str, window.place))}")
    resolution = {} if pixel_size_um is None else {"dpi": (25400 / pixel_size_um,) * 2}
    stream = io.BytesIO()
    Pillow.fromarray(window.pixels).save(stream, format="PNG", pnginfo=told, **resolution)
    return stream.getvalue()


def insert_windows(session: Session, written: Sequence[WrittenWindow]) -> None:
    """Make images of windows whose files are there."""
    slides = {row.name: row for row in session.scalars(select(SlideRow))}
    for each in written:
        window = each.window
        slide = slides[window.slide]
        x, y, width, height = window.place
        session.add(
            ImageRow(
                name=window.name,
                sha256=each.sha256,
                path=each.path,
                height=window.pixels.shape[0],
                width=window.pixels.shape[1],
                pixel_size_um=each.pixel_size_um,
                group=slide.group or slide.name,
                role=window.role,
                added_at=datetime.now(UTC),
                slide_id=slide.id,
                slide_x=x,
                slide_y=y,
                slide_width=width,
                slide_height=height,
            )
        )
    session.flush()
