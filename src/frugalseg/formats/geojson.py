"""QuPath's GeoJSON: one file an image, one feature an object, outlines along pixel edges.

What QuPath has no word for is said in its own terms: the annotated window is a feature of the class ``Region*``, what
nobody annotated is one of the class ``Ignore*`` (QuPath takes classes with a star for no objects). An object's number
is the measurement ``Label``, which QuPath keeps; size of the image and completeness stand in the member ``frugalseg``.

References
----------
Butler et al., "The GeoJSON Format", RFC 7946 (2016); Bankhead et al., "QuPath: open source software for digital
pathology image analysis", Scientific Reports 7 (2017).
"""

from __future__ import annotations

import contextlib
import gzip
import json
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from frugalseg.atomic import atomic_path
from frugalseg.formats.annotated import Annotated, AnnotationSet, Window, WriteSettings, Written
from frugalseg.formats.folder import new_folder
from frugalseg.formats.geojson_slides import FOLDER, slide_files, write_collection
from frugalseg.formats.trace import trace_objects, trace_unknown

REGION, IGNORE, LABEL = "Region*", "Ignore*", "Label"
NAMESPACE = uuid.UUID("0d6ad6a8-54a1-5e5b-9b62-3f2b3d0c6c1e")
"""Under which the identifiers of features are derived from their content."""

COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (230, 159, 0), (204, 121, 167), (86, 180, 233))
"""Of classes, in turn: Okabe and Ito's."""

_GREY = (180, 180, 180)


def write_geojson(out: Path, drawn: AnnotationSet, settings: WriteSettings) -> Written:
    """Write a folder with ``NAME.geojson`` (or ``.geojson.gz``) for each image.

    Windows of a whole slide are also written together, at their places, as ``slides/SLIDE.geojson``.

    Parameters
    ----------
    out
        A folder that is empty or not there yet.
    drawn, settings
        What to write, and how.

    Raises
    ------
    InputError
        The folder holds something, or an annotation cannot be read.
    """
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(drawn.class_names)}
    suffix = f".geojson{'.gz' * settings.gzip}"
    n_objects = n_slides = 0
    with new_folder(out) as folder:
        for canvas in drawn.canvases:
            each = drawn.load(canvas)
            with _opened(folder / f"{canvas.name}{suffix}", gzip_it=settings.gzip) as stream:
                n_objects += _write(stream, each, colours)
        for name, about, features in slide_files(folder, drawn, lambda each: _features(each, colours)):
            with _opened(folder / FOLDER / f"{name}{suffix}", gzip_it=settings.gzip) as stream:
                write_collection(stream, about, features, dumps)
            n_slides += 1
    return Written(len(drawn.canvases) + n_slides, len(drawn.canvases), n_objects)


@contextlib.contextmanager
def _opened(path: Path, *, gzip_it: bool) -> Iterator[BinaryIO]:
    """A file to write, packed or not."""
    with atomic_path(path) as temporary, temporary.open("wb") as raw:
        if gzip_it:  # no name and no time in it: same content, same bytes
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed:
                yield cast(BinaryIO, packed)
        else:
            yield raw


def _write(stream: BinaryIO, drawn: Annotated, colours: dict[str, tuple[int, int, int]]) -> int:
    """Write one image, feature by feature; returns the number of objects."""
    canvas = drawn.canvas
    about = {"image": canvas.name, "width": canvas.width, "height": canvas.height, "complete": drawn.complete}
    n_objects = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal n_objects
        for each, is_object in _features(drawn, colours):
            n_objects += is_object
            yield each

    write_collection(stream, about, counted(), dumps)
    return n_objects


def _features(drawn: Annotated, colours: dict[str, tuple[int, int, int]]) -> Iterator[tuple[dict[str, Any], bool]]:
    name, labels = drawn.canvas.name, drawn.labels
    if drawn.window is not None:
        yield feature(name, [[_rectangle(drawn.window)]], classification(REGION, _GREY)), False
        x, y, w, h = drawn.window
        labels = labels[y : y + h, x : x + w]
        for outline in trace_unknown(labels):
            moved = [[(across + x, down + y) for across, down in ring] for ring in outline]
            yield feature(name, [moved], classification(IGNORE, _GREY)), False
        labels = drawn.labels
    else:
        for outline in trace_unknown(labels):
            yield feature(name, [outline], classification(IGNORE, _GREY)), False
    for label, outlines in trace_objects(labels):
        class_name = drawn.classes.get(label)
        named = {} if class_name is None else classification(class_name, colours.get(class_name, COLOURS[0]))
        yield feature(name, outlines, {**named, "measurements": {LABEL: label}}), True


def feature(image: str, outlines: Sequence[Any], properties: dict[str, Any]) -> dict[str, Any]:
    """One feature, with an identifier that follows from image, kind and outline.

    Parameters
    ----------
    image
        Name of the image.
    outlines
        Polygons, each its shell and its holes, each of them closed points (x, y).
    properties
        What is said of it beside that it is an annotation.
    """
    geometry: dict[str, Any] = {"type": "Polygon", "coordinates": outlines[0]}
    if len(outlines) > 1:
        geometry = {"type": "MultiPolygon", "coordinates": list(outlines)}
    kind = properties.get("classification", {}).get("name", "") if "measurements" not in properties else ""
    identity = uuid.uuid5(NAMESPACE, f"{image}\n{kind}\n{json.dumps(geometry['coordinates'], separators=(',', ':'))}")
    told = {"objectType": "annotation", "isLocked": False, **properties}
    return {"type": "Feature", "id": str(identity), "geometry": geometry, "properties": told}


def classification(name: str, colour: tuple[int, int, int]) -> dict[str, Any]:
    """The property that gives a feature its class."""
    return {"classification": {"name": name, "color": list(colour)}}


def _rectangle(window: Window) -> list[tuple[int, int]]:
    x, y, w, h = window
    return [(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)]


def dumps(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
