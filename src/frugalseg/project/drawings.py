"""Drawing on images, stroke by stroke: every stroke a committed row, every version a file that stays."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from frugalseg.arrays import UNKNOWN, LabelMap
from frugalseg.errors import InputError
from frugalseg.images.labels import read_stored_labels
from frugalseg.project import annotations as masks
from frugalseg.project.drafts import (
    EMPTY,
    ConflictError,
    Draft,
    draft_from,
    load_draft,
    newest_proposal,
    proposed_classes,
)
from frugalseg.project.lock import project_lock
from frugalseg.project.project import Project
from frugalseg.project.queries import load_images
from frugalseg.project.records import Annotation, Window
from frugalseg.project.round_files import proposal_file
from frugalseg.project.schema import DraftRow, ImageRow, StrokeRow
from frugalseg.project.strokes import Stroke, check_stroke, unpack_labels

N_KEPT, KEPT_BYTES = 4, 256 * 2**20
"""Label maps that are kept in memory: so many, and no more than these bytes but for the last one."""


class Drawings:
    """The drawings of a project. Methods are transactions; objects may be shared between threads."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._store = project._store
        self._kept: OrderedDict[int, tuple[str, LabelMap]] = OrderedDict()
        self._lock = threading.RLock()
        self._open = self._store.hold()  # strokes are many, and each would tidy up the log

    def close(self) -> None:
        """Let the database go; strokes may still be drawn, each a little slower."""
        self._open.close()

    def state(self, image_id: int) -> Draft:
        """Where the drawing on an image stands, with a number for the next object."""
        with self._store.read() as session:
            draft = load_draft(session, self._store.folder, image_id)
        return self._numbered(draft)

    def waiting(self) -> dict[int, int]:
        """Strokes that no version holds yet, by image; images without any are left out."""
        with self._store.read() as session:
            rows = session.execute(select(DraftRow.image_id, DraftRow.n_strokes).where(DraftRow.n_strokes > 0))
            return {row.image_id: row.n_strokes for row in rows}

    def newest_proposal(self, draft: Draft) -> int | None:
        """The newest round that proposes objects for the image; None if none does."""
        with self._store.read() as session:
            return newest_proposal(session, self._store.folder, draft.image)

    def open_proposals(self, image_id: int) -> list[int]:
        """Objects of the proposal that is being corrected which nobody has accepted, changed or taken out."""
        with self._lock:
            with self._store.read() as session:
                draft = load_draft(session, self._store.folder, image_id)
            if draft.proposal is None:
                return []
            proposed = np.unique(self._base(replace(draft, base=f"p{draft.proposal}")))
            left = np.intersect1d(proposed[proposed > 0], np.unique(self._canvas(draft)))
        return sorted(set(left.tolist()) - set(draft.accepted))

    def labels(self, image_id: int, window: Window, step: int = 1) -> tuple[str, LabelMap]:
        """Part of the drawing, every `step`-th pixel: the state's name, and labels of shape (⌈h/step⌉, ⌈w/step⌉)."""
        x, y, w, h = window
        with self._lock:
            with self._store.read() as session:
                draft = load_draft(session, self._store.folder, image_id)
            labels = self._canvas(draft)
            return draft.edit, labels[y : y + h : step, x : x + w : step].copy()

    def draw(self, image_id: int, edit: str, stroke: Stroke) -> Draft:
        """Append a stroke to a drawing; when this returns, it is on the disk.

        Parameters
        ----------
        image_id
            The image.
        edit
            The state that the stroke follows.
        stroke
            What changed; one that is stored already changes nothing.

        Raises
        ------
        ConflictError
            The drawing is in another state by now, and nothing was stored.
        InputError
            No such image, or a stroke that cannot be.
        """
        with self._store.write() as session:
            stored = session.scalar(select(StrokeRow).where(StrokeRow.uuid == stroke.uuid))
            if stored is not None and stored.image_id != image_id:
                raise InputError("stroke", "is one of another image")
            if stored is not None:  # the state that it made, not what others have drawn since: that is a conflict
                return replace(load_draft(session, self._store.folder, image_id), n_strokes=stored.number)
            before = self._numbered(draft_from(session, self._store.folder, image_id, edit))
            labels = check_stroke(stroke, before.image, before.window, len(self._project.class_names))
            after = _after(before, stroke, max(before.next_label, int(labels.max(initial=0)) + 1))
            session.add(_stroke_row(image_id, after.n_strokes, stroke))
            _put_draft(session, after)
        with self._lock:
            kept = self._kept.get(image_id)
            if kept is not None and kept[0] == edit:
                _apply(kept[1], stroke.window, labels)
                self._kept[image_id] = (after.edit, kept[1])
        return after

    def start(self, image_id: int, edit: str, source: Literal["proposal", "empty"]) -> Draft:
        """Begin a drawing on which nothing is drawn from the newest proposal, or from nothing.

        Raises
        ------
        ConflictError
            Something is drawn, or there is a version.
        InputError
            There is no proposal.
        """
        with self._store.write() as session:
            draft = draft_from(session, self._store.folder, image_id, edit)
            if draft.n_strokes or draft.image.annotation is not None:
                raise ConflictError(draft.image.name, draft.edit, "changed elsewhere")
            number = newest_proposal(session, self._store.folder, draft.image) if source == "proposal" else None
            if source == "proposal" and number is None:
                raise InputError(draft.image.name, "has no proposal")
            base = EMPTY if number is None else f"p{number}"
            classes = proposed_classes(self._store.folder, base, draft.image)
            _put_row(session, image_id, base, proposal=None if number is None else base, classes=classes)
        return self.state(image_id)

    def keep(self, image_id: int, edit: str, why: str, complete: bool | None = None) -> tuple[Annotation | None, Draft]:
        """Make the drawing the image's next version, if there is anything new.

        Parameters
        ----------
        image_id, edit
            The image and the state that is to be kept.
        why
            Becomes the version's source, as ``page:submit``.
        complete
            Whether every object is drawn; None leaves what the last version said.

        Returns
        -------
        The newest version, None if nothing was ever drawn, and the state that follows.
        """
        with project_lock(self._store.folder):
            with self._store.read() as session:
                draft = draft_from(session, self._store.folder, image_id, edit)
            newest = draft.image.annotation
            unchanged = draft.n_strokes == 0 and (
                complete is None or (newest is not None and newest.complete == complete)
            )
            if unchanged:
                return newest, self.state(image_id)
            done = complete if complete is not None else newest is not None and newest.complete
            return self._write_version(draft, f"page:{why}", done), self.state(image_id)

    def restore(self, image_id: int, edit: str, version: int) -> tuple[Annotation, Draft]:
        """Make an old version the newest; what was drawn since becomes a version of its own before.

        Raises
        ------
        InputError
            There is no such version.
        """
        with project_lock(self._store.folder):
            _, draft = self.keep(image_id, edit, "before-restore")
            return self._repeat(draft, version), self.state(image_id)

    def resolve(self, image_id: int, edit: str, mine: bool) -> tuple[Annotation, Draft]:
        """Settle a drawing beside which a newer version came: both become versions, the chosen one the newest.

        The drawing is as complete as the version that it began from.
        """
        with project_lock(self._store.folder):
            with self._store.read() as session:
                draft = load_draft(session, self._store.folder, image_id)
            theirs = draft.image.annotation
            if draft.edit != edit or not draft.n_strokes or theirs is None or not draft.outdated:
                raise ConflictError(draft.image.name, draft.edit, "changed elsewhere")
            written = self._write_version(draft, "page:resolve", self._was_complete(draft))
            if mine:
                return written, self.state(image_id)
            return self._repeat(self.state(image_id), theirs.version), self.state(image_id)

    def _was_complete(self, draft: Draft) -> bool:
        """Whether the version that a drawing began from was complete; what somebody else's says counts for nothing."""
        return draft.base[0] == "v" and self._version(draft.image.name, int(draft.base[1:])).complete

    def version_labels(self, image_id: int, version: int) -> LabelMap:
        """The labels of an old version, shape (H, W)."""
        with self._store.read() as session:
            name = load_draft(session, self._store.folder, image_id).image.name
        return self._project.labels(self._version(name, version))

    def _version(self, name: str, version: int) -> Annotation:
        for each in self._project.history(name):
            if each.version == version:
                return each
        raise InputError(name, f"has no version {version}")

    def _repeat(self, draft: Draft, version: int) -> Annotation:
        """Append a copy of an old version."""
        old = self._version(draft.image.name, version)
        labels = self._project.labels(old)
        return self._append(
            draft, labels, old.window, old.object_classes, source=f"restore:{version}", complete=old.complete
        )

    def _write_version(self, draft: Draft, source: str, complete: bool) -> Annotation:
        labels = self._canvas(draft).copy()
        return self._append(draft, labels, draft.window, draft.object_classes, source=source, complete=complete)

    def _append(
        self,
        draft: Draft,
        labels: LabelMap,
        window: Window | None,
        classes: Mapping[int, int],
        *,
        source: str,
        complete: bool,
    ) -> Annotation:
        """Write the mask file, then its row and the end of the journal in one transaction; the lock must be held."""
        image_id, folder = draft.image.id, self._store.folder
        drawing = masks.make_drawing(
            draft.image,
            labels,
            complete=complete,
            source=source,
            window=window,
            object_classes=classes,
            n_classes=len(self._project.class_names),
            renumber=False,
        )
        columns = masks.write_version(self._store, draft.image, drawing)
        try:
            with self._store.write() as session:
                now = load_draft(session, folder, image_id)
                if now.edit != draft.edit and (now.n_strokes or draft.n_strokes):
                    raise ConflictError(draft.image.name, now.edit, "changed elsewhere")
                masks.append(session, {draft.image.name: columns})
                session.execute(delete(StrokeRow).where(StrokeRow.image_id == image_id))
                base = f"v{columns['version']}"
                proposal = None if complete or draft.proposal is None else f"p{draft.proposal}"
                kept = list(draft.accepted) if proposal else []
                _put_row(session, image_id, base, proposal=proposal, accepted=kept, classes=drawing.object_classes)
                session.flush()
                written = load_images(session, folder, ImageRow.id == image_id)[0].annotation
        except Exception:
            (folder / columns["mask"]).unlink(missing_ok=True)
            raise
        assert written is not None
        return written

    def _numbered(self, draft: Draft) -> Draft:
        """With a number for the next object, found in the pixels where no stroke has told it yet."""
        if draft.next_label:
            return draft
        with self._lock:
            highest = int(self._canvas(draft).max(initial=0))
        return replace(draft, next_label=max(highest, 0) + 1)

    def _canvas(self, draft: Draft) -> LabelMap:
        """The labels of a drawing, shape (H, W); to be read only, under the lock or copied."""
        with self._lock:
            kept = self._kept.get(draft.image.id)
            if kept is None or kept[0] != draft.edit:
                kept = (draft.edit, self._replay(draft))
            self._kept[draft.image.id] = kept
            self._kept.move_to_end(draft.image.id)
            while len(self._kept) > max(1, min(N_KEPT, KEPT_BYTES // max(1, kept[1].nbytes))):
                self._kept.popitem(last=False)
            return kept[1]

    def _replay(self, draft: Draft) -> LabelMap:
        labels = self._base(draft)
        if draft.n_strokes:
            with self._store.read() as session:
                rows = session.scalars(
                    select(StrokeRow)
                    .where(StrokeRow.image_id == draft.image.id, StrokeRow.number <= draft.n_strokes)
                    .order_by(StrokeRow.number)
                )
                for row in rows:
                    stroke = Stroke(row.uuid, row.tool, (row.x, row.y, row.w, row.h), row.labels)
                    _apply(labels, stroke.window, unpack_labels(stroke))
        return labels

    def _base(self, draft: Draft) -> LabelMap:
        kind, number = draft.base[0], int(draft.base[1:])
        if kind == "v":
            return self._project.labels(self._version(draft.image.name, number))
        if kind == "p":
            labels = read_stored_labels(proposal_file(self._store.folder, number, draft.image.name))
        else:
            labels = np.zeros((draft.image.height, draft.image.width), np.int32)
        if draft.window is None:
            return labels
        x, y, w, h = draft.window
        cut = np.full_like(labels, UNKNOWN)
        cut[y : y + h, x : x + w] = labels[y : y + h, x : x + w]
        return cut


def _apply(labels: LabelMap, window: Window, changed: LabelMap) -> None:
    x, y, w, h = window
    labels[y : y + h, x : x + w] = changed


def _stroke_row(image_id: int, number: int, stroke: Stroke) -> StrokeRow:
    x, y, w, h = stroke.window
    return StrokeRow(
        image_id=image_id,
        number=number,
        uuid=stroke.uuid,
        tool=stroke.tool,
        x=x,
        y=y,
        w=w,
        h=h,
        labels=stroke.labels,
        created_at=datetime.now(UTC),
    )


def _after(draft: Draft, stroke: Stroke, next_label: int) -> Draft:
    """The drawing after a stroke."""
    classes = {**draft.object_classes, **{k: v for k, v in stroke.object_classes.items() if v is not None}}
    for label, index in stroke.object_classes.items():
        if index is None:
            classes.pop(label, None)
    accepted = draft.accepted if stroke.accepted is None else stroke.accepted
    return replace(
        draft, n_strokes=draft.n_strokes + 1, next_label=next_label, object_classes=classes, accepted=accepted
    )


def _put_draft(session: Session, draft: Draft) -> None:
    """Write a drawing's row."""
    _put_row(
        session,
        draft.image.id,
        draft.base,
        proposal=None if draft.proposal is None else f"p{draft.proposal}",
        n_strokes=draft.n_strokes,
        next_label=draft.next_label,
        accepted=list(draft.accepted),
        classes=draft.object_classes,
    )


def _put_row(
    session: Session,
    image_id: int,
    base: str,
    *,
    proposal: str | None = None,
    n_strokes: int = 0,
    next_label: int = 0,
    accepted: list[int] | None = None,
    classes: Mapping[int, int] | None = None,
) -> None:
    row = session.get(DraftRow, image_id) or DraftRow(image_id=image_id)
    row.base, row.proposal, row.n_strokes, row.next_label = base, proposal, n_strokes, next_label
    row.accepted = accepted or []
    row.object_classes = {str(label): index for label, index in sorted((classes or {}).items())}
    row.updated_at = datetime.now(UTC)
    session.add(row)
