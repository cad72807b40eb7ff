"""What formats take and give: images of known size, what is drawn on each, and sets of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frugalseg.arrays import UNKNOWN, LabelMap
from frugalseg.errors import InputError, Problem
from frugalseg.images.guard import system_reason

Window = tuple[int, int, int, int]
"""Part of an image: x, y, width, height in pixels."""


@dataclass(frozen=True)
class OnSlide:
    """Where in a whole slide an image lies; all in pixels of the slide's finest level."""

    name: str
    x: int
    y: int
    width: int
    height: int
    slide_width: int
    slide_height: int


@dataclass(frozen=True)
class Canvas:
    """An image that can be drawn on: its name, where its file is, its size in pixels; a window's place in its slide."""

    name: str
    path: Path
    height: int
    width: int
    pixel_size_um: float | None = None
    slide: OnSlide | None = None


@dataclass(frozen=True, eq=False)
class Annotated:
    """What is drawn on one image.

    Attributes
    ----------
    canvas
        The image.
    labels
        Its objects, -1 where nobody annotated, as everywhere outside `window`.
    classes
        Name of each object's class; an object of no class is left out, or has None.
    window
        The part that was worked on; None is the whole image.
    complete
        Whether every object in the window is drawn; None if the file does not say.
    notes
        Warnings, a line each.
    """

    canvas: Canvas
    labels: LabelMap
    classes: Mapping[int, str | None]
    window: Window | None = None
    complete: bool | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class AnnotationSet:
    """Images, and how to get what is drawn on each: label maps are large, so one is loaded at a time.

    `load` raises `InputError` where the file of an image cannot be used. `class_names` are those that objects may have;
    a file that is read does not always list them beforehand.
    """

    canvases: tuple[Canvas, ...]
    load: Callable[[Canvas], Annotated]
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """What is to be read: the images there are, by name, and which of them are asked for (None: all in the files)."""

    canvases: Mapping[str, Canvas]
    only: frozenset[str] | None = None

    def choose(self, path: Path, found: Mapping[str, Path | str], *, what: str) -> tuple[Canvas, ...]:
        """Images to read, by name.

        Parameters
        ----------
        path
            Where annotations were looked for.
        found
            Names of the images that they are for, each with what to call it in a complaint.
        what
            What was looked for.

        Raises
        ------
        InputError
            There are none; some are for images that do not exist; some that are asked for are missing.
        """
        if not found:
            raise InputError(path, f"holds no {what}")
        if self.only is None:
            names = sorted(found)
            problems = [
                Problem(str(found[name]), f"belongs to no image of this project (none is named {name})")
                for name in names
                if name not in self.canvases
            ]
        else:
            names = sorted(self.only)
            problems = [Problem(str(path), f"holds nothing for {name}") for name in names if name not in found]
            problems += [Problem(name, "is no image of this project") for name in names if name not in self.canvases]
        if problems:
            raise InputError.of(problems)
        return tuple(self.canvases[name] for name in names)


@dataclass(frozen=True)
class WriteSettings:
    """How files are written: `gzip` packs GeoJSON, `coco_rle` writes every COCO object as pixels, not as a polygon."""

    gzip: bool = False
    coco_rle: bool = False


@dataclass(frozen=True)
class Written:
    """What was written: files, images, objects, and notes on what the format cannot say."""

    files: int
    images: int
    objects: int
    notes: tuple[str, ...] = ()


def present_labels(labels: LabelMap) -> list[int]:
    """Labels of the objects that are there, ascending; empty for none."""
    top = int(labels.max(initial=0))
    if top <= 0:
        return []
    if top <= 4 * labels.size + 65536:
        there = np.zeros(top + 1, dtype=bool)
        for row in labels:  # by rows: a mask of the whole image would take as much again
            there[row[row > 0]] = True
        return list(map(int, np.flatnonzero(there)))
    return list(map(int, np.unique(labels[labels > 0])))


def outside_unknown(labels: LabelMap, window: Window | None) -> LabelMap:
    """The same labels, -1 outside the window."""
    if window is None:
        return labels
    x, y, w, h = window
    result = np.full_like(labels, UNKNOWN)
    result[y : y + h, x : x + w] = labels[y : y + h, x : x + w]
    return result


def listed(path: Path) -> list[Path]:
    """The files of a folder in order, or the one file; what is not there or cannot be read is an `InputError`."""
    if not path.exists():
        raise InputError(path, "does not exist")
    try:
        return sorted(path.iterdir()) if path.is_dir() else [path]
    except OSError as error:
        raise InputError(path, system_reason(error)) from error


def single(pairs: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Files by name; two for one image are an `InputError`."""
    result: dict[str, Path] = {}
    problems = []
    for name, file in pairs:
        if name in result:
            problems.append(Problem(str(file), f"stands for {name}, as {result[name].name} already does"))
        result.setdefault(name, file)
    if problems:
        raise InputError.of(problems)
    return result
