"""Rows of images and annotations as the frozen records that a project hands out."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from frugalseg.errors import InputError
from frugalseg.project.records import Annotation, ProjectImage, ProjectSlide, Role, SlidePlace, Window
from frugalseg.project.schema import AnnotationRow, ImageRow, SlideRow


def load_images(session: Session, folder: Path, *conditions: Any) -> tuple[ProjectImage, ...]:
    """Images that fulfil all `conditions`, by name, each with its current annotation."""
    latest = (
        select(AnnotationRow.image_id, func.max(AnnotationRow.version).label("version"))
        .group_by(AnnotationRow.image_id)
        .subquery()
    )
    rows = session.execute(
        select(ImageRow, AnnotationRow)
        .outerjoin(latest, latest.c.image_id == ImageRow.id)
        .outerjoin(
            AnnotationRow, and_(AnnotationRow.image_id == ImageRow.id, AnnotationRow.version == latest.c.version)
        )
        .where(*conditions)
        .order_by(ImageRow.name)
    )
    return tuple(image_record(folder, image, annotation) for image, annotation in rows)


def image_record(folder: Path, row: ImageRow, annotation: AnnotationRow | None) -> ProjectImage:
    """One image, its file's path absolute."""
    return ProjectImage(
        id=row.id,
        name=row.name,
        path=(folder if row.root is None else Path(row.root.path)) / row.path,
        sha256=row.sha256,
        height=row.height,
        width=row.width,
        pixel_size_um=row.pixel_size_um,
        group=row.group,
        role=cast(Role | None, row.role),
        unusable_reason=row.unusable_reason,
        root=None if row.root is None else row.root.name,
        added_at=row.added_at,
        annotation=None if annotation is None else annotation_record(folder, row.name, annotation),
        slide=_place(row),
    )


def _place(row: ImageRow) -> SlidePlace | None:
    place = window_of(row.slide_x, row.slide_y, row.slide_width, row.slide_height)
    slide = row.slide
    if slide is None or place is None:
        return None
    return SlidePlace(slide.id, slide.name, *place, slide.width, slide.height, slide.tile_levels)


def load_slides(session: Session, folder: Path, *conditions: Any) -> tuple[ProjectSlide, ...]:
    """Slides that fulfil all `conditions`, by name."""
    rows = session.scalars(select(SlideRow).where(*conditions).order_by(SlideRow.name))
    return tuple(
        ProjectSlide(
            id=row.id,
            name=row.name,
            path=(folder if row.root is None else Path(row.root.path)) / row.path,
            sha256=row.sha256,
            height=row.height,
            width=row.width,
            pixel_size_um=row.pixel_size_um,
            factor=row.factor,
            window_px=row.window_px,
            tile_levels=row.tile_levels,
            group=row.group,
            role=cast(Role | None, row.role),
            unusable_reason=row.unusable_reason,
            root=None if row.root is None else row.root.name,
            added_at=row.added_at,
        )
        for row in rows
    )


def annotation_record(folder: Path, image: str, row: AnnotationRow) -> Annotation:
    """One version of a mask."""
    return Annotation(
        image=image,
        version=row.version,
        mask=folder / row.mask,
        sha256=row.sha256,
        window=window_of(row.x, row.y, row.w, row.h),
        complete=row.complete,
        source=row.source,
        n_objects=row.n_objects,
        contour_px=row.contour_px,
        object_classes={int(label): int(index) for label, index in row.object_classes.items()},
        created_at=row.created_at,
    )


def window_of(x: int | None, y: int | None, w: int | None, h: int | None) -> Window | None:
    """Four columns as a window; None if there is none."""
    return None if x is None or y is None or w is None or h is None else (x, y, w, h)


def window_columns(window: Window | None) -> dict[str, int | None]:
    """A window as four columns."""
    return dict(zip("xywh", (None,) * 4 if window is None else window, strict=True))


def image_row(session: Session, name: str) -> ImageRow:
    """The row of an image.

    Raises
    ------
    InputError
        The project has no such image; says which name is near.
    """
    row = session.scalar(select(ImageRow).where(ImageRow.name == name))
    if row is None:
        raise unknown_image(name, session.scalars(select(ImageRow.name)).all())
    return row


def unknown_image(name: str, names: Sequence[str]) -> InputError:
    """What to say of an image that is not there."""
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return InputError(name, f"is no image of this project{hint}")
