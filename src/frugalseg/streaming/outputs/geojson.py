"""QuPath's GeoJSON of a slide, written feature by feature, packed without a time in it."""

from __future__ import annotations

import gzip
from typing import Any

import shapely

from frugalseg.atomic import atomic_path
from frugalseg.formats.geojson import COLOURS, LABEL, classification, dumps, feature
from frugalseg.streaming.objects import Objects
from frugalseg.streaming.outputs.findings import Findings
from frugalseg.streaming.shapes import SHAPES


def write_geojson(found: Findings) -> None:
    """Write one polygon or multi-polygon an object, in pixels of level 0, with class, number, confidence and size."""
    about = {"image": found.name, "width": found.plan.slide_width, "height": found.plan.slide_height, "complete": None}
    with (
        atomic_path(found.path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as stream,
    ):
        stream.write(b'{"type":"FeatureCollection","frugalseg":' + dumps(about) + b',"features":[')
        separator = b"\n"
        for label, part in found.parts():
            for place in range(len(part)):
                stream.write(separator + dumps(_feature(found, part, place, label + place)))
                separator = b",\n"
        stream.write(b"\n]}\n")


def _feature(found: Findings, part: Objects, place: int, label: int) -> dict[str, Any]:
    number = int(part.classes[place])
    measurements: dict[str, float] = {LABEL: label, "Confidence": round(float(part.confidences[place]), 4)}
    area, length = (float(part.shapes[place, SHAPES.index(name)]) for name in ("area_px", "perimeter_px"))
    if found.pixel_size_um is None:
        measurements |= {"Area px^2": round(area, 2), "Perimeter px": round(length, 2)}
    else:
        measurements |= {
            "Area µm^2": round(area * found.pixel_size_um**2, 3),
            "Perimeter µm": round(length * found.pixel_size_um, 3),
        }
    named = classification(found.class_names[number], COLOURS[number % len(COLOURS)])
    return feature(found.name, _coordinates(part.polygons[place]), {**named, "measurements": measurements})


def _coordinates(shape: Any) -> list[list[list[list[float]]]]:
    """Polygons, each its shell and holes, each a list of points."""
    return [
        [shapely.get_coordinates(ring).tolist() for ring in (part.exterior, *part.interiors)]
        for part in shapely.get_parts(shape)
    ]
