"""GeoJSON drawn by QuPath, or by anything that writes polygons in pixel coordinates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from frugalseg.errors import InputError
from frugalseg.formats.annotated import Annotated, AnnotationSet, Canvas, Wanted, listed, single
from frugalseg.formats.board import Board
from frugalseg.formats.geojson import IGNORE, LABEL, REGION
from frugalseg.formats.json_stream import JsonStream, open_json
from frugalseg.formats.raster import GeometryError, Polygon, make_ring
from frugalseg.images import image_stem, is_image_name

SUFFIXES = (".geojson", ".json", ".geojson.gz", ".json.gz")
_OBJECTS = ("annotation", "detection", "cell")


def read_geojson(path: Path, wanted: Wanted) -> AnnotationSet:
    """Files of a folder, or one file, each named as its image (``NAME.geojson``, ``NAME.png.geojson``, packed or not).

    Raises
    ------
    InputError
        No such files, or some for images that do not exist. What is wrong inside shows when it is loaded.
    """
    path = Path(path)
    found = [file for file in listed(path) if file.name.lower().endswith(SUFFIXES) and not file.name.startswith(".")]
    file_of = single((_image_name(file, wanted.canvases), file) for file in found)
    canvases = wanted.choose(path, file_of, what="GeoJSON files (NAME.geojson)")
    return AnnotationSet(canvases, lambda canvas: _read(file_of[canvas.name], canvas))


def _image_name(file: Path, canvases: Mapping[str, Canvas]) -> str:
    """The stem, of which QuPath leaves the image's suffix."""
    suffix = next(suffix for suffix in reversed(SUFFIXES) if file.name.lower().endswith(suffix))
    stem = file.name[: -len(suffix)]
    return image_stem(stem) if stem not in canvases and is_image_name(stem) else stem


def _read(path: Path, canvas: Canvas) -> Annotated:
    board = Board(canvas)
    skipped: dict[str, int] = {}
    about: dict[str, Any] = {}
    with open_json(path) as stream:
        for number, feature in enumerate(_features(stream, about), 1):
            try:
                reason = _draw(board, feature)
            except GeometryError as error:
                raise InputError(path, f"feature {number} {error}") from None
            if reason is not None:
                skipped[reason] = skipped.get(reason, 0) + 1
    _check_about(path, about, canvas)
    notes = [f"{count} feature{'' if count == 1 else 's'} {reason}, left out" for reason, count in skipped.items()]
    complete = about.get("complete")
    return board.finish(complete=complete if isinstance(complete, bool) else None, notes=notes)


def _features(stream: JsonStream, about: dict[str, Any]) -> Iterator[Any]:
    """Features of a collection, of a bare list, or a single one; what frugalseg says of the image goes to `about`."""
    if stream.peek() == "[":
        yield from stream.items()
        return stream.end()
    members: dict[str, Any] = {}
    has_list = False
    for name in stream.members():
        if name == "features" and stream.peek() == "[":
            has_list = True
            yield from stream.items()
            continue
        value = stream.value()
        if name == "frugalseg" and isinstance(value, dict):
            about.update(value)
        elif name in ("type", "geometry", "properties"):
            members[name] = value
    stream.end()
    if members.get("type") == "Feature":
        yield members
    elif not has_list:
        raise InputError(stream.path, "is no GeoJSON collection of features")
    return None


def _check_about(path: Path, about: Mapping[str, Any], canvas: Canvas) -> None:
    size = [about.get("width", canvas.width), about.get("height", canvas.height)]
    if size != [canvas.width, canvas.height]:
        found = " x ".join(str(side)[:20] for side in size)
        raise InputError(path, f"was drawn on an image of {found}, {canvas.name} is {canvas.width} x {canvas.height}")


def _draw(board: Board, feature: Any) -> str | None:
    """Draw a feature; the reason why it is none that can be drawn, or None."""
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        raise GeometryError("is no GeoJSON feature")
    properties = feature.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    kind = properties.get("objectType", properties.get("object_type", "annotation"))
    if kind not in _OBJECTS:
        return f"of the type {str(kind)[:40]!r}"
    polygons = _polygons(feature.get("geometry"))
    if not polygons:
        return "without an area (points, lines, nothing)"
    class_name = _class_name(properties.get("classification"))
    if class_name == REGION:
        board.region(polygons)
    elif class_name == IGNORE:
        board.ignore(polygons)
    elif class_name is not None and class_name.endswith("*"):
        return f"of the class {class_name[:40]!r}, which QuPath takes for no object"
    else:
        board.draw(polygons, class_name, _label(properties.get("measurements")))
    return None


def _polygons(geometry: Any, depth: int = 0) -> list[Polygon]:
    """Polygons of a geometry; none for points and lines."""
    if geometry is None:
        return []
    if not isinstance(geometry, dict) or depth > 8:
        raise GeometryError("has a geometry that cannot be read")
    kind = geometry.get("type")
    if kind in ("Point", "MultiPoint", "LineString", "MultiLineString"):
        return []
    parts = geometry.get("geometries" if kind == "GeometryCollection" else "coordinates")
    if not isinstance(parts, list):
        raise GeometryError(f"has a geometry without {'parts' if kind == 'GeometryCollection' else 'coordinates'}")
    if kind == "GeometryCollection":
        return [polygon for part in parts for polygon in _polygons(part, depth + 1)]
    if kind == "Polygon":
        return [_polygon(parts)] if parts else []
    if kind == "MultiPolygon":
        return [_polygon(part) for part in parts if part]
    raise GeometryError(f"has a geometry of the type {str(kind)[:40]!r}")


def _polygon(rings: Any) -> Polygon:
    if not isinstance(rings, list):
        raise GeometryError("has a polygon that is no list of rings")
    shell, *holes = (make_ring(ring) for ring in rings)
    return Polygon(shell, tuple(holes))


def _class_name(classification: Any) -> str | None:
    """Name of a class as QuPath writes it now and did before; a class of several parts has colons."""
    if isinstance(classification, str):
        return classification.strip() or None
    if isinstance(classification, dict):
        names = classification.get("names")
        name = classification.get("name")
        if name is None and isinstance(names, list):
            name = ": ".join(map(str, names))
        if isinstance(name, str):
            return name.strip() or None
    return None


def _label(measurements: Any) -> int | None:
    """The object's number among its measurements, which QuPath writes as an object, and once wrote as a list."""
    if isinstance(measurements, list):
        pairs = [each for each in measurements if isinstance(each, dict)]
        value = next((each.get("value") for each in pairs if each.get("name") == LABEL), None)
    else:
        value = measurements.get(LABEL) if isinstance(measurements, dict) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
