"""The folder that ``predict`` writes: label maps, and two tables that tell what lies there."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from frugalseg.atomic import write_text
from frugalseg.errors import InputError
from frugalseg.images.tables import read_columns

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
        coming = set(names)
        before = {table: _read(folder / table, columns) for table, columns in _TABLES.items()}
        if not (folder / IMAGES_TABLE).exists():
            self._refuse(sorted(coming))
        of_images = {row["image"]: row for row in before[IMAGES_TABLE]}
        self._replaced = of_images.keys() & coming
        self._images = [row for name, row in of_images.items() if name not in coming and self._has_map(name)]
        kept = {row["image"] for row in self._images}
        self._objects = [row for row in before[TABLE] if row["image"] in kept]
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / IMAGES_TABLE, images_csv(self._images))
        if (folder / TABLE).exists():
            write_text(folder / TABLE, objects_csv(self._objects))

    def clear(self, name: str, written: Iterable[Path]) -> None:
        """Remove what earlier results of an image are beside those `written` now, such as a map in another format."""
        if name in self._replaced:
            maps = [self.folder / f"{name}{suffix}" for suffix in MAP_SUFFIXES]
            pictures = [self.folder / OVERLAYS / f"{name}.png", self.folder / PROBABILITIES / f"{name}.safetensors"]
            for path in {*maps, *pictures} - set(written):
                path.unlink(missing_ok=True)

    def finish(self, objects: Sequence[Row], images: Sequence[Row]) -> None:
        """Write the tables, the others' rows first."""
        write_text(self.folder / TABLE, objects_csv([*self._objects, *objects]))
        write_text(self.folder / IMAGES_TABLE, images_csv([*self._images, *images]))

    def _has_map(self, name: str) -> bool:
        return any((self.folder / f"{name}{suffix}").is_file() for suffix in MAP_SUFFIXES)

    def _refuse(self, names: Sequence[str]) -> None:
        paths = [self.folder / f"{name}{suffix}" for name in names for suffix in MAP_SUFFIXES]
        there = [path for path in paths if path.exists()]
        if there:
            more = f", with {len(there) - 1} more" if len(there) > 1 else ""
            raise InputError(there[0], f"is no result of predict{more}, and would be overwritten; choose another --out")


_TABLES = {IMAGES_TABLE: _IMAGES, TABLE: _OBJECTS[:4]}
"""Which columns a table of ours begins with."""


def _read(path: Path, columns: Sequence[str]) -> list[Row]:
    """Rows of an earlier table, columns without a value left out; none where there is no table, or an empty one."""
    if not path.exists() or not path.stat().st_size:
        return []
    found, lines = read_columns(path)
    if tuple(found[: len(columns)]) != tuple(columns):
        raise InputError(path, "is no table of predict, and would be overwritten; choose another --out")
    rows = (dict(zip(found, line, strict=False)) for line in lines)
    return [{name: value for name, value in row.items() if value or name == "image"} for row in rows]


def objects_csv(rows: Sequence[Row]) -> str:
    """Rows of objects as CSV text; µm where any row has them."""
    return _table([*_OBJECTS, *_present(("area_um2", "perimeter_um"), rows)], rows)


def images_csv(rows: Sequence[Row]) -> str:
    """Rows of images as CSV text; none gives no text."""
    return _table([*_IMAGES, *_present(("distance", "unlike"), rows)], rows) if rows else ""


def _present(columns: Sequence[str], rows: Sequence[Row]) -> list[str]:
    return [name for name in columns if any(name in row for row in rows)]


def _table(columns: Sequence[str], rows: Sequence[Row]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
