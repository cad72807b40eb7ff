"""COCO files, whoever wrote them: polygons, plain and packed run lengths, crowds."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frugalseg.errors import InputError, Problem
from frugalseg.formats.annotated import Annotated, AnnotationSet, Canvas, Wanted
from frugalseg.formats.board import Board
from frugalseg.formats.json_stream import open_json
from frugalseg.formats.raster import GeometryError, Polygon, check_ring
from frugalseg.formats.rle import to_spans
from frugalseg.images import image_stem

_Number = int | str


@dataclass(frozen=True, eq=False)
class _Shape:
    """One annotation: polygons, or run lengths; `crowd` is an area that nobody annotated in full."""

    number: int
    category: _Number
    label: int | None
    crowd: bool
    polygons: tuple[Polygon, ...] = ()
    counts: str | list[int] | None = None
    size: tuple[int, int] | None = None


@dataclass
class _File:
    """What a file holds, as far as it is read; annotations wait under the number of their image."""

    images: list[Any] = field(default_factory=list)
    categories: dict[_Number, str] = field(default_factory=dict)
    shapes: dict[_Number, list[_Shape]] = field(default_factory=lambda: defaultdict(list))
    about: Any = None


def read_coco(path: Path, wanted: Wanted) -> AnnotationSet:
    """Read one COCO file; images are found by the stems of their files' names.

    Raises
    ------
    InputError
        The file cannot be read, is no COCO file, or has annotations of images or categories that it does not list;
        images that do not exist, or have another size.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "is a folder, COCO is one .json file" if path.is_dir() else "does not exist")
    read = _parse(path)
    image_of: dict[str, dict[str, Any]] = {}
    problems = []
    for image in read.images:
        name = _image_name(image, wanted.canvases)
        if name in image_of:
            problems.append(Problem(str(path), f"lists two images named {name}"))
        image_of[name] = image
    canvases = wanted.choose(path, dict.fromkeys(image_of, path), what="images")
    for canvas in canvases:
        size = [image_of[canvas.name].get(side) for side in ("width", "height")]
        if size != [canvas.width, canvas.height]:
            found = " x ".join(str(side)[:20] for side in size)
            problems.append(Problem(str(path), f"has {canvas.name} as {found}, it is {canvas.width} x {canvas.height}"))
    unlisted = sorted({str(number)[:20] for number in set(read.shapes) - {image["id"] for image in read.images}})
    problems += [
        Problem(str(path), f"has annotations of an image {number}, which it does not list") for number in unlisted
    ]
    named = {shape.category for shapes in read.shapes.values() for shape in shapes} - set(read.categories)
    problems += [
        Problem(str(path), f"has annotations of a category {number}, which it does not list")
        for number in sorted(str(number)[:20] for number in named)
    ]
    if problems:
        raise InputError.of(problems)
    empty = sum(not read.shapes.get(image_of[canvas.name]["id"]) for canvas in canvases)
    said = f"{path}: {empty} image{'' if empty == 1 else 's'} without annotations, taken as annotated and empty"
    load = lambda canvas: _draw(path, read, image_of[canvas.name]["id"], canvas)  # noqa: E731
    return AnnotationSet(canvases, load, tuple(read.categories.values()), (said,) if empty else ())


def _image_name(image: Mapping[str, Any], canvases: Mapping[str, Canvas]) -> str:
    file_name = re.split(r"[/\\]", image["file_name"])[-1]
    return file_name if file_name in canvases else image_stem(file_name)


def _parse(path: Path) -> _File:
    read = _File()
    with open_json(path) as stream:
        if stream.peek() != "{":
            raise InputError(path, "is no COCO file (an object with images, categories and annotations)")
        met = set()
        for name in stream.members():
            met.add(name)
            if name in ("images", "categories", "annotations") and stream.peek() != "[":
                raise InputError(path, f"is no COCO file: {name} is no list")
            if name == "images":
                read.images += [_image(path, item) for item in stream.items()]
            elif name == "categories":
                _add_categories(path, read, stream.items())
            elif name == "annotations":
                for number, item in enumerate(stream.items(), 1):
                    _add_shape(path, read, item, number)
            else:
                value = stream.value()
                read.about = value if name == "frugalseg" else read.about
        stream.end()
    missing = {"images", "categories", "annotations"} - met
    if missing:
        raise InputError(path, f"is no COCO file: it has no {', '.join(sorted(missing))}")
    return read


def _image(path: Path, item: Any) -> dict[str, Any]:
    if not isinstance(item, dict) or not _is_number(item.get("id")) or not isinstance(item.get("file_name"), str):
        raise InputError(path, "is no COCO file: an image has no id or no file_name")
    return item


def _add_categories(path: Path, read: _File, items: Any) -> None:
    for item in items:
        if not isinstance(item, dict) or not _is_number(item.get("id")) or not isinstance(item.get("name"), str):
            raise InputError(path, "is no COCO file: a category has no id or no name")
        if item["id"] in read.categories:
            raise InputError(path, f"lists two categories with the id {item['id']}")
        read.categories[item["id"]] = item["name"].strip()


def _add_shape(path: Path, read: _File, item: Any, number: int) -> None:
    if not isinstance(item, dict) or not _is_number(item.get("image_id")) or not _is_number(item.get("category_id")):
        raise InputError(path, f"is no COCO file: annotation {number} has no image_id or no category_id")
    label = item.get("label")
    label = label if isinstance(label, int) and not isinstance(label, bool) else None
    crowd = item.get("iscrowd") in (1, True)
    segmentation = item.get("segmentation")
    try:
        if isinstance(segmentation, list) and segmentation:
            polygons = tuple(Polygon(_flat_ring(each)) for each in segmentation)
            shape = _Shape(number, item["category_id"], label, crowd, polygons)
        elif isinstance(segmentation, dict):
            counts, size = segmentation.get("counts"), segmentation.get("size")
            if not isinstance(counts, str | list) or not isinstance(size, list) or len(size) != 2:
                raise GeometryError("has run lengths without counts or size")
            shape = _Shape(number, item["category_id"], label, crowd, counts=counts, size=(size[0], size[1]))
        else:
            raise GeometryError("has no segmentation; boxes alone cannot be read")
    except GeometryError as error:
        raise InputError(path, f"annotation {number} {error}") from None
    read.shapes[item["image_id"]].append(shape)


def _flat_ring(numbers: Any) -> NDArray[np.float64]:
    """Corners of a polygon given as x, y, x, y, …"""
    try:
        flat = np.array(numbers)
    except (ValueError, OverflowError):
        flat = np.array(None)
    if flat.dtype.kind not in "iuf" or flat.ndim != 1 or len(flat) % 2:
        raise GeometryError("has a polygon that is no list of numbers x, y, x, y, …")
    return check_ring(flat.astype(np.float64).reshape(-1, 2))


def _draw(path: Path, read: _File, image_id: _Number, canvas: Canvas) -> Annotated:
    board = Board(canvas)
    crowds = 0
    for shape in read.shapes.get(image_id, ()):
        try:
            crowds += shape.crowd
            _draw_shape(board, shape, read.categories[shape.category])
        except GeometryError as error:
            raise InputError(path, f"annotation {shape.number} {error}") from None
    said = read.about.get("images") if isinstance(read.about, dict) else None
    about = said.get(canvas.name) if isinstance(said, dict) else None
    about = about if isinstance(about, dict) else {}
    window, complete = about.get("window"), about.get("complete")
    if isinstance(window, list) and len(window) == 4 and all(type(side) is int for side in window):
        x, y, w, h = window
        try:
            board.region([Polygon(check_ring(np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], np.float64)))])
        except (GeometryError, OverflowError):
            raise InputError(path, f"has an impossible window for {canvas.name}") from None
    told = f"{crowds} crowd{'' if crowds == 1 else 's'} (iscrowd) taken as not annotated"
    foreign = crowds and not about
    return board.finish(complete=complete if isinstance(complete, bool) else None, notes=[told] if foreign else [])


def _draw_shape(board: Board, shape: _Shape, class_name: str) -> None:
    canvas = board.canvas
    if shape.counts is None:
        if shape.crowd:
            board.ignore(shape.polygons)
        else:
            board.draw(shape.polygons, class_name, shape.label)
        return
    if shape.size != (canvas.height, canvas.width):
        raise GeometryError(f"has run lengths for an image of another size than {canvas.width} x {canvas.height}")
    spans = to_spans(shape.counts, canvas.height, canvas.width)
    if shape.crowd:
        board.ignore_columns(spans)
    else:
        board.draw_columns(spans, class_name, shape.label)


def _is_number(value: Any) -> bool:
    """Whether something can be an id: COCO's are integers, other tools write text."""
    return isinstance(value, int | str) and not isinstance(value, bool)
