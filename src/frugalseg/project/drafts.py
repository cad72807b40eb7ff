"""Where the drawing on an image stands: what it began from, what followed, and the name of that state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from frugalseg.errors import InputError
from frugalseg.project.queries import load_images, window_of
from frugalseg.project.records import ProjectImage, Window
from frugalseg.project.round_files import proposal_classes_file, proposal_file
from frugalseg.project.schema import DraftRow, ImageRow, RoundRow, StrokeRow, SuggestionRow

EMPTY = "e0"
"""The base of a drawing that begins from nothing."""


class ConflictError(InputError):
    """Somebody else changed the drawing; `edit` names its present state, `reason` is a short word for why."""

    def __init__(self, image: str, edit: str, reason: Literal["changed elsewhere", "newer version"]) -> None:
        super().__init__(image, f"was not saved: {reason}")
        self.edit = edit
        self.reason = reason


class UnknownImageError(InputError):
    """There is no image of this number."""


@dataclass(frozen=True)
class Draft:
    """The drawing on an image, without its pixels.

    Attributes
    ----------
    image
        With its newest annotation.
    base
        What it began from: ``e0`` nothing, ``p3`` the proposal of round 3, ``v2`` version 2.
    n_strokes
        Changes since then, all in the journal.
    proposal
        The round whose proposal is being corrected; None if none is.
    next_label
        A number that no object ever had; 0 where it has to be found from the pixels.
    object_classes, accepted
        Classes of objects; objects of the proposal that were accepted or changed.
    window
        The part to draw on; None is the whole image.
    """

    image: ProjectImage
    base: str
    n_strokes: int
    proposal: int | None
    next_label: int
    object_classes: Mapping[int, int]
    accepted: tuple[int, ...]
    window: Window | None

    @property
    def edit(self) -> str:
        """The name of this state; no other state of the image has the same, nor has it with another window to draw."""
        within = "" if self.window is None else "@" + ",".join(map(str, self.window))
        return f"{self.base}.{self.n_strokes}{within}"

    @property
    def outdated(self) -> bool:
        """Whether a version came that this drawing does not follow."""
        annotation = self.image.annotation
        return annotation is not None and self.base != f"v{annotation.version}"


def load_draft(session: Session, folder: Path, image_id: int) -> Draft:
    """The drawing on an image.

    Raises
    ------
    UnknownImageError
        There is no such image.
    """
    found = load_images(session, folder, ImageRow.id == image_id)
    if not found:
        raise UnknownImageError(f"image {image_id}", "is not in this project")
    image, row = found[0], session.get(DraftRow, image_id)
    if row is not None:
        draft = Draft(
            image=image,
            base=row.base,
            n_strokes=row.n_strokes,
            proposal=None if row.proposal is None else int(row.proposal[1:]),
            next_label=row.next_label,
            object_classes={int(label): index for label, index in row.object_classes.items()},
            accepted=tuple(row.accepted),
            window=window_to_draw(session, image),
        )
        if draft.n_strokes or not draft.outdated:
            return draft
    return _fresh(session, folder, image)


def _fresh(session: Session, folder: Path, image: ProjectImage, base: str | None = None) -> Draft:
    """A drawing on which nothing is drawn yet."""
    annotation = image.annotation
    base = base or default_base(session, folder, image)
    return Draft(
        image=image,
        base=base,
        n_strokes=0,
        proposal=int(base[1:]) if base.startswith("p") else None,
        next_label=0,
        object_classes=proposed_classes(folder, base, image) if annotation is None else dict(annotation.object_classes),
        accepted=(),
        window=window_to_draw(session, image),
    )


def proposed_classes(folder: Path, base: str, image: ProjectImage) -> dict[int, int]:
    """Classes of the objects that a proposal holds."""
    path = proposal_classes_file(folder, int(base[1:]), image.name)
    if not base.startswith("p") or not path.is_file():
        return {}
    return {int(label): int(index) for label, index in json.loads(path.read_text(encoding="utf-8")).items()}


def default_base(session: Session, folder: Path, image: ProjectImage) -> str:
    """What a drawing begins from: the newest version, else the newest round's proposal, else nothing."""
    if image.annotation is not None:
        return f"v{image.annotation.version}"
    newest = newest_proposal(session, folder, image)
    return EMPTY if newest is None else f"p{newest}"


def newest_proposal(session: Session, folder: Path, image: ProjectImage) -> int | None:
    """The newest trained round that has a proposal for an image; validation images never have one."""
    query = select(RoundRow.number).where(RoundRow.status == "trained").order_by(RoundRow.number.desc())
    if image.role == "validation":
        return None
    return next((n for n in session.scalars(query) if proposal_file(folder, n, image.name).is_file()), None)


def draft_from(session: Session, folder: Path, image_id: int, edit: str) -> Draft:
    """The drawing whose state is `edit`.

    A drawing without strokes may begin from a proposal that is not the newest any more, as it was when it was opened.

    Raises
    ------
    ConflictError
        The state is another one by now.
    """
    draft = load_draft(session, folder, image_id)
    if draft.n_strokes and draft.outdated:
        raise ConflictError(draft.image.name, draft.edit, "newer version")
    if edit == draft.edit:
        return draft
    base = edit.partition(".")[0]
    if draft.n_strokes == 0 and _is_start(folder, draft.image, base):
        fresh = _fresh(session, folder, draft.image, base)
        if fresh.edit == edit:
            return fresh
    raise ConflictError(draft.image.name, draft.edit, "changed elsewhere")


def _is_start(folder: Path, image: ProjectImage, base: str) -> bool:
    """Whether a drawing without any version may begin from this base."""
    if image.annotation is not None:
        return False
    if base == EMPTY:
        return True
    known = base.startswith("p") and base[1:].isdecimal() and len(base) < 10 and image.role != "validation"
    return known and base == f"p{int(base[1:])}" and proposal_file(folder, int(base[1:]), image.name).is_file()


def window_to_draw(session: Session, image: ProjectImage) -> Window | None:
    """The window of the newest annotation, else of the newest suggestion of the image; None is all of it.

    Of several windows that one ask suggested, the rectangle around them; and what has been drawn already, as where
    somebody drew before the suggestion came, lies in it too.
    """
    if image.annotation is not None:
        return image.annotation.window
    newest = select(func.max(SuggestionRow.ask)).where(SuggestionRow.image_id == image.id).scalar_subquery()
    of_image = (SuggestionRow.image_id == image.id, SuggestionRow.ask == newest)
    windows = [window_of(row.x, row.y, row.w, row.h) for row in session.scalars(select(SuggestionRow).where(*of_image))]
    suggested = [each for each in windows if each is not None]
    if not suggested or len(suggested) < len(windows):
        return None
    columns = select(StrokeRow.x, StrokeRow.y, StrokeRow.w, StrokeRow.h)
    drawn = session.execute(columns.where(StrokeRow.image_id == image.id, StrokeRow.w > 0))
    return _around([*suggested, *((x, y, w, h) for x, y, w, h in drawn)])


def _around(windows: Sequence[Window]) -> Window:
    """The smallest window that holds all."""
    left, top = (min(each[axis] for each in windows) for axis in (0, 1))
    right, bottom = (max(each[axis] + each[axis + 2] for each in windows) for axis in (0, 1))
    return left, top, right - left, bottom - top
