"""The folder that ``predict`` writes: label maps, and two tables that tell what lies there."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from frugalseg.atomic import write_text
from frugalseg.errors import InputError

TABLE = "objects.csv"
IMAGES_TABLE = "images.csv"
OVERLAYS = "overlays"
PROBABILITIES = "probabilities"

MAP_SUFFIXES = (".png", ".tiff")

_OBJECTS = ("image", "label", "class", "confidence", "area_px", "centroid_x_px", "centroid_y_px", "perimeter_px")
_IMAGES = ("image", "n_objects", "foreground")

Row = dict[str, Any]


class ResultsFolder:
    """The results of some images, in a folder that may hold those of others.

    While they are made the tables list the others alone, so that every image in ``images.csv`` is finished.

    Parameters
    ----------
    folder
        Made if it is not there.
    names
        Names of the images to come; what the folder holds of them will be replaced.

    Raises
    ------
    InputError
        Tables or label maps are in the way that are no results of ``predict``: they may have been made by hand.
    """

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self.folder = folder
        self._coming = set(names)
        self._ours = (folder / IMAGES_TABLE).exists()
        if not self._ours:
            self._refuse()
        objects, images = self._of_others()
        folder.mkdir(parents=True, exist_ok=True)
        if self._ours and (folder / TABLE).exists():
            write_text(folder / TABLE, objects_csv(objects))
        write_text(folder / IMAGES_TABLE, images_csv(images))

    def clear(self, name: str, written: Iterable[Path]) -> None:
        """Remove what earlier results of an image are beside those `written` now, such as a map in another format."""
        if self._ours:
            maps = [self.folder / f"{name}{suffix}" for suffix in MAP_SUFFIXES]
            pictures = [self.folder / OVERLAYS / f"{name}.png", self.folder / PROBABILITIES / f"{name}.safetensors"]
            for path in {*maps, *pictures} - set(written):
                path.unlink(missing_ok=True)

    def finish(self, objects: Sequence[Row], images: Sequence[Row]) -> None:
        """Write the tables, the others' rows first, as they are by now: another call may have ended meanwhile."""
        other_objects, other_images = self._of_others()
        write_text(self.folder / TABLE, objects_csv([*other_objects, *objects]))
        write_text(self.folder / IMAGES_TABLE, images_csv([*other_images, *images]))

    def _of_others(self) -> tuple[list[Row], list[Row]]:
        """Rows of objects and of images that are not to come and whose label maps are there."""
        images = [row for row in _read(self.folder / IMAGES_TABLE, _IMAGES) if row["image"] not in self._coming]
        images = [row for row in images if self._has_map(row["image"])]
        kept = {row["image"] for row in images}
        return [row for row in _read(self.folder / TABLE, _OBJECTS[:4]) if row["image"] in kept], images

    def _has_map(self, name: str) -> bool:
        return any((self.folder / f"{name}{suffix}").is_file() for suffix in MAP_SUFFIXES)

    def _refuse(self) -> None:
        paths = [self.folder / f"{name}{suffix}" for name in sorted(self._coming) for suffix in MAP_SUFFIXES]
        there = [path for path in paths if path.exists()]
        if there:
            more = f", with {len(there) - 1} more" if len(there) > 1 else ""
            raise InputError(there[0], f"is no result of predict{more}, and would be overwritten; choose another --out")


def _read(path: Path, columns: Sequence[str]) -> list[Row]:
    """Rows of an earlier table, which begins with these columns; fields without a value left out; of no table none."""
    if not path.exists():
        return []
    try:
        lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(path, f"cannot be read ({error}), and would be overwritten; choose another --out") from None
    if lines and tuple(lines[0][: len(columns)]) != tuple(columns):
        raise InputError(path, "is no table of predict, and would be overwritten; choose another --out")
    rows = (dict(zip(lines[0], line, strict=False)) for line in lines[1:] if line)
    return [{name: value for name, value in row.items() if value or name == "image"} for row in rows]


def objects_csv(rows: Sequence[Row]) -> str:
    """Rows of objects as CSV text; columns that only some rows have, as those in µm, are empty in the others."""
    return _table(_OBJECTS, rows)


def images_csv(rows: Sequence[Row]) -> str:
    """Rows of images as CSV text; none gives no text."""
    return _table(_IMAGES, rows) if rows else ""


def _table(columns: Sequence[str], rows: Sequence[Row]) -> str:
    stream = io.StringIO()
    every = dict.fromkeys([*columns, *(name for row in rows for name in row)])
    writer = csv.DictWriter(stream, fieldnames=list(every), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
