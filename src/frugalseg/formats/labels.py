"""Label maps: a folder of 16-bit PNG files (TIFF where numbers are larger) with tables beside them.

``classes.csv`` (image, label, class) is the table that every import of masks knows. ``annotations.csv`` says of each
image whether it is complete, and which window was worked on. 65535 means not annotated.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from frugalseg.arrays import UNKNOWN, LabelMap
from frugalseg.atomic import write_text
from frugalseg.errors import InputError
from frugalseg.formats.annotated import (
    Annotated,
    AnnotationSet,
    Canvas,
    Wanted,
    Window,
    WriteSettings,
    Written,
    outside_unknown,
    present_labels,
    single,
)
from frugalseg.formats.folder import new_folder
from frugalseg.images import image_stem, masked_stem, write_label_map
from frugalseg.images.labels import read_stored_labels
from frugalseg.images.layouts import list_folder
from frugalseg.images.objects import is_binary, split_components
from frugalseg.images.tables import read_classes, read_table

NOT_ANNOTATED = 65535
CLASSES, TABLE = "classes.csv", "annotations.csv"
_COLUMNS = ("image", "complete", "x", "y", "width", "height")


def write_labels(out: Path, drawn: AnnotationSet, settings: WriteSettings) -> Written:
    """Write a folder with ``NAME.png`` for each image, ``classes.csv`` and ``annotations.csv``.

    Raises
    ------
    InputError
        The folder holds something, or an annotation cannot be read.
    """
    classes: list[tuple[object, ...]] = [("image", "label", "class")]
    table: list[tuple[object, ...]] = [_COLUMNS]
    default = drawn.class_names[0] if drawn.class_names else "object"
    with new_folder(out) as folder:
        for canvas in drawn.canvases:
            each = drawn.load(canvas)
            stored = np.where(each.labels == UNKNOWN, NOT_ANNOTATED, each.labels)
            suffix = ".png" if int(stored.max(initial=0)) <= NOT_ANNOTATED else ".tiff"
            write_label_map(folder / f"{canvas.name}{suffix}", stored)
            classes += [
                (canvas.name, label, each.classes.get(label) or default) for label in present_labels(each.labels)
            ]
            complete = "" if each.complete is None else "yes" if each.complete else "no"
            table.append((canvas.name, complete, *(each.window or ("",) * 4)))
        n_objects = len(classes) - 1
        if n_objects:
            write_text(folder / CLASSES, _csv(classes))
        write_text(folder / TABLE, _csv(table))
    return Written(len(drawn.canvases) + 1 + bool(n_objects), len(drawn.canvases), n_objects)


def _csv(rows: list[tuple[object, ...]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def read_labels(path: Path, wanted: Wanted) -> AnnotationSet:
    """Read a folder of label maps named as their images, or with an ending such as ``_mask``.

    Raises
    ------
    InputError
        No label maps, some for images that do not exist, tables that cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(path, "is not a folder" if path.exists() else "does not exist")
    listing = list_folder(path)
    if listing.problems:
        raise InputError.of(listing.problems)
    file_of = single(
        (image_stem(file) if image_stem(file) in wanted.canvases else masked_stem(file), file)
        for file in listing.images
    )
    canvases = wanted.choose(path, file_of, what="label maps (NAME.png)")
    names, numbers = read_classes(path / CLASSES, wanted.canvases) if (path / CLASSES).is_file() else ((), {})
    exported = (path / TABLE).is_file()
    table = _read_table(path / TABLE) if exported else {}

    def load(canvas: Canvas) -> Annotated:
        classes = {label: names[index] for label, index in numbers.get(canvas.name, {}).items()}
        labels = read_stored_labels(file_of[canvas.name], ignore_value=NOT_ANNOTATED)
        if not exported and not present_labels(labels):  # other programs write 65535 for the one value of a mask
            labels = read_stored_labels(file_of[canvas.name])
        return _checked(file_of[canvas.name], labels, canvas, classes, *table.get(canvas.name, (None, None)))

    return AnnotationSet(canvases, load, names)


def _checked(
    path: Path,
    labels: LabelMap,
    canvas: Canvas,
    classes: dict[int, str],
    complete: bool | None,
    window: Window | None,
) -> Annotated:
    """One label map. A mask of one value becomes its components, unless the table says that it is one object."""
    if labels.shape != (canvas.height, canvas.width):
        found = f"{labels.shape[1]} x {labels.shape[0]}"
        raise InputError(path, f"is {found}, its image {canvas.name} is {canvas.width} x {canvas.height}")
    notes: tuple[str, ...] = ()
    known: dict[int, str | None] = dict(classes)
    if not classes and is_binary(labels):
        labels, origin = split_components(labels)
        notes = (
            f"{path.name}: one label for all objects; its {len(origin)} connected components are taken as objects",
        )
    present = present_labels(labels)
    missing = [label for label in present if label not in classes]
    if classes and missing:
        raise InputError(path, f"object {', '.join(map(str, missing[:5]))} has no class in {CLASSES}")
    if window is not None:
        x, y, w, h = window
        if min(x, y) < 0 or min(w, h) < 1 or x + w > canvas.width or y + h > canvas.height:
            raise InputError(path.parent / TABLE, f"has an impossible window for {canvas.name}")
        labels = outside_unknown(labels, window)
    return Annotated(canvas, labels, {label: known.get(label) for label in present}, window, complete, notes)


def _read_table(path: Path) -> dict[str, tuple[bool | None, Window | None]]:
    """Completeness and window of each image."""
    result: dict[str, tuple[bool | None, Window | None]] = {}
    for row in read_table(path):
        name, complete = row.get("image", ""), row.get("complete", "")
        sides = [row.get(column, "") for column in _COLUMNS[2:]]
        if not name or complete not in ("", "yes", "no") or not (any(sides) <= all(_is_count(side) for side in sides)):
            raise InputError(path, f"has a row that cannot be read ({', '.join(row.values())[:60]})")
        x, y, w, h = (int(side) if side else 0 for side in sides)
        result[name] = ({"yes": True, "no": False}.get(complete), (x, y, w, h) if any(sides) else None)
    return result


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
