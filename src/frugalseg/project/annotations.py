"""Masks of a project: every version a file and a row, neither ever changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from frugalseg.arrays import UNKNOWN, LabelMap
from frugalseg.errors import InputError
from frugalseg.images import write_label_map
from frugalseg.images.cost import drawn
from frugalseg.images.labels import read_stored_labels
from frugalseg.project.hashing import sha256_of
from frugalseg.project.lock import project_lock
from frugalseg.project.queries import annotation_record, image_row, load_images, window_columns
from frugalseg.project.records import Annotation, ProjectImage, Window
from frugalseg.project.schema import AnnotationRow, ImageRow
from frugalseg.project.store import Store
from frugalseg.project.strokes import LARGEST_LABEL

FOLDER = "masks"

NOT_ANNOTATED = 65535
"""Value of pixels that nobody annotated, in every mask file of a project, PNG or TIFF."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """What somebody drew: labels as they are stored, and what is said of them."""

    stored: NDArray[np.uint32]
    object_classes: Mapping[int, int]
    window: Window | None
    complete: bool
    source: str


def make_drawing(
    image: ProjectImage,
    labels: NDArray[Any],
    *,
    complete: bool,
    source: str,
    window: Window | None,
    object_classes: Mapping[int, int],
    n_classes: int,
    renumber: bool = True,
) -> Drawing:
    """Judge a label map for an image, and turn it into what is stored.

    Notes
    -----
    The number 65535 is taken by what is not annotated. An object of that number gets one above the highest. With
    `renumber` objects are numbered anew, in the same order, where their numbers leave none for objects that will be
    drawn; while somebody draws they are not, since the page goes on with its numbers.

    Raises
    ------
    InputError
        The label map has another size than the image, or the window does not lie in it.
    ValueError
        Not integers of shape (H, W), negative labels other than ``UNKNOWN``, classes that the project does not have.
    """
    if labels.ndim != 2 or labels.dtype.kind not in "bui":
        raise ValueError(f"labels must be integers of shape (H, W), not {labels.dtype} of shape {labels.shape}")
    if labels.shape != (image.height, image.width):
        found = f"{labels.shape[1]} x {labels.shape[0]}"
        raise InputError(image.name, f"is {image.width} x {image.height}, its mask {found}")
    if window is not None:
        x, y, w, h = window
        if min(x, y) < 0 or min(w, h) < 1 or x + w > image.width or y + h > image.height:
            raise InputError(image.name, f"has no window {window}, it is {image.width} x {image.height}")
    if labels.size and int(labels.min()) < UNKNOWN:
        raise ValueError(f"labels must be {UNKNOWN} (not annotated), 0 or positive")
    if any(not 0 <= index < n_classes for index in object_classes.values()):
        raise ValueError(f"object classes must lie in 0-{n_classes - 1}")
    stored = labels.astype(np.int64)
    present = set(np.unique(stored[stored > 0]).tolist())
    classes = {label: object_classes.get(label, 0) for label in present} if n_classes > 1 else {}
    if renumber and present and max(present) > LARGEST_LABEL // 2:  # the page could not draw another object
        old = np.array(sorted(present))
        stored = np.where(stored > 0, np.searchsorted(old, stored) + 1, stored)
        classes = {place: classes[label] for place, label in enumerate(old.tolist(), start=1) if label in classes}
        present = set(range(1, len(old) + 1))
    if NOT_ANNOTATED in present:
        moved = max(present) + 1
        stored[stored == NOT_ANNOTATED] = moved
        classes = {moved if label == NOT_ANNOTATED else label: index for label, index in classes.items()}
    stored[stored == UNKNOWN] = NOT_ANNOTATED
    return Drawing(stored.astype(np.uint32), classes, window, complete, source)


def read_labels(annotation: Annotation) -> LabelMap:
    """The objects of an annotation, shape (H, W); ``UNKNOWN`` (-1) where nobody annotated, as outside its window.

    Raises
    ------
    InputError
        The file is missing or damaged.
    """
    labels = read_stored_labels(annotation.mask, ignore_value=NOT_ANNOTATED)
    if annotation.window is not None:
        x, y, w, h = annotation.window
        outside = np.ones(labels.shape, dtype=bool)
        outside[y : y + h, x : x + w] = False
        labels[outside] = UNKNOWN
    return labels


def is_same(annotation: Annotation | None, drawing: Drawing) -> bool:
    """Whether an image's current annotation says what the drawing says; outside a window neither says anything."""
    if annotation is None or (annotation.complete, annotation.window) != (drawing.complete, drawing.window):
        return False
    if not annotation.mask.is_file():
        return False
    x, y, w, h = drawing.window or (0, 0, drawing.stored.shape[1], drawing.stored.shape[0])
    ours = read_stored_labels(annotation.mask)[y : y + h, x : x + w]
    if not np.array_equal(ours, drawing.stored[y : y + h, x : x + w]):
        return False
    pairs = (annotation.object_classes.items(), drawing.object_classes.items())
    if drawing.window is not None and pairs[0] != pairs[1]:
        inside = set(np.unique(ours).tolist())
        return {pair for pair in pairs[0] if pair[0] in inside} == {pair for pair in pairs[1] if pair[0] in inside}
    return pairs[0] == pairs[1]


def write_version(store: Store, image: ProjectImage, drawing: Drawing) -> dict[str, Any]:
    """Write the mask file of an image's next version; the columns of its row, which :func:`append` takes.

    The project's lock must be held. A number whose file is there, left by a killed process, is passed over.
    """
    version = 1 if image.annotation is None else image.annotation.version + 1
    while any(_mask_path(store, image.name, version, suffix).exists() for suffix in (".png", ".tiff")):
        version += 1
    path = _mask_path(store, image.name, version, ".png" if int(drawing.stored.max(initial=0)) <= 65535 else ".tiff")
    write_label_map(path, drawing.stored)
    n_objects, contour = drawn(np.where(drawing.stored == NOT_ANNOTATED, 0, drawing.stored))
    return {
        "version": version,
        "mask": path.relative_to(store.folder).as_posix(),
        "sha256": sha256_of(path),
        **window_columns(drawing.window),
        "complete": drawing.complete,
        "source": drawing.source,
        "n_objects": n_objects,
        "contour_px": contour,
        "object_classes": {str(label): index for label, index in sorted(drawing.object_classes.items())},
        "created_at": datetime.now(UTC),
    }


def _mask_path(store: Store, name: str, version: int, suffix: str) -> Path:
    return store.folder / FOLDER / f"{name}.v{version}{suffix}"


def append(session: Session, columns: Mapping[str, Mapping[str, Any]]) -> dict[str, AnnotationRow]:
    """Add a row for each image of `columns`, by name."""
    rows = {name: AnnotationRow(image_id=image_row(session, name).id, **each) for name, each in columns.items()}
    session.add_all(rows.values())
    session.flush()
    return rows


def annotate(
    store: Store,
    name: str,
    labels: NDArray[Any],
    *,
    complete: bool,
    source: str,
    window: Window | None,
    object_classes: Mapping[int, int],
    n_classes: int,
) -> Annotation:
    """Append a version to an image's annotations; see :meth:`frugalseg.project.Project.annotate`."""
    with project_lock(store.folder):
        with store.read() as session:
            image_row(session, name)
            image = load_images(session, store.folder, ImageRow.name == name)[0]
        drawing = make_drawing(
            image,
            labels,
            complete=complete,
            source=source,
            window=window,
            object_classes=object_classes,
            n_classes=n_classes,
        )
        columns = write_version(store, image, drawing)
        try:
            with store.write() as session:
                row = append(session, {name: columns})[name]
                return annotation_record(store.folder, name, row)
        except Exception:
            (store.folder / columns["mask"]).unlink(missing_ok=True)
            raise


def history(session: Session, folder: Path, name: str) -> tuple[Annotation, ...]:
    """All versions of an image's mask, the oldest first; none gives an empty tuple."""
    image = image_row(session, name)
    query = select(AnnotationRow).where(AnnotationRow.image_id == image.id).order_by(AnnotationRow.version)
    return tuple(annotation_record(folder, name, row) for row in session.scalars(query))


def remove_files(folder: Path, columns: Iterable[Mapping[str, Any]]) -> None:
    """Remove mask files whose rows will not be written."""
    for each in columns:
        (folder / each["mask"]).unlink(missing_ok=True)
