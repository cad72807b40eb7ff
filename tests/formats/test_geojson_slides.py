"""Windows of a slide in one file, each polygon at its place of the slide."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import shape

from frugalseg.formats import FORMATS, Annotated, AnnotationSet, Canvas, OnSlide, Wanted, WriteSettings

from .builders import Labels, canvas_of


def square() -> Labels:
    """Object 1 covers columns 2-5 and rows 3-4 of ten by eight pixels; the last column is not annotated."""
    labels = np.zeros((8, 10), np.int32)
    labels[3:5, 2:6] = 1
    labels[:, 9] = -1
    return labels


def window(name: str, slide: str, x: int, y: int, factor: float = 1.0) -> Canvas:
    place = OnSlide(slide, x, y, round(10 * factor), round(8 * factor), 1000, 900)
    return replace(canvas_of(square(), name), slide=place)


def write(out: Path, *canvases: Canvas, settings: WriteSettings | None = None) -> Any:
    drawn = AnnotationSet(canvases, lambda canvas: Annotated(canvas, square(), {1: "gland"}, complete=True), ("gland",))
    return FORMATS["geojson"].write(out, drawn, settings or WriteSettings())


def bounds(document: Any, kind: str) -> list[tuple[float, ...]]:
    """Of the features of a class, in order."""
    found = [each for each in document["features"] if each["properties"]["classification"]["name"] == kind]
    return [shape(each["geometry"]).bounds for each in found]


def test_polygons_lie_at_their_places_of_the_slide(tmp_path: Path) -> None:
    done = write(tmp_path / "out", window("a", "s", 100, 200), window("b", "s", 300, 0), canvas_of(square(), "c"))
    assert (done.files, done.images, done.objects) == (4, 3, 3)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.geojson",
        "b.geojson",
        "c.geojson",
        "slides",
    ]
    document = json.loads((tmp_path / "out" / "slides" / "s.geojson").read_text())
    assert document["frugalseg"] == {"slide": "s", "width": 1000, "height": 900, "windows": ["a", "b"]}
    assert bounds(document, "Region*") == [(100, 200, 110, 208), (300, 0, 310, 8)]
    assert bounds(document, "gland") == [(102, 203, 106, 205), (302, 3, 306, 5)]
    assert bounds(document, "Ignore*") == [(109, 200, 110, 208), (309, 0, 310, 8)]
    assert len({each["id"] for each in document["features"]}) == 6
    assert [each["properties"]["metadata"]["image"] for each in document["features"]] == ["a"] * 3 + ["b"] * 3


@pytest.mark.parametrize(("factor", "expected"), [(2.0, (104, 206, 112, 210)), (0.5, (101, 201.5, 103, 202.5))])
def test_pixels_of_another_size(tmp_path: Path, factor: float, expected: tuple[float, ...]) -> None:
    write(tmp_path / "out", window("a", "s", 100, 200, factor))
    document = json.loads((tmp_path / "out" / "slides" / "s.geojson").read_text())
    assert bounds(document, "gland") == [expected]


def test_a_file_for_each_slide_packed_too(tmp_path: Path) -> None:
    write(tmp_path / "out", window("a", "t", 0, 0), window("b", "s", 0, 0), settings=WriteSettings(gzip=True))
    folder = tmp_path / "out" / "slides"
    assert sorted(path.name for path in folder.iterdir()) == ["s.geojson.gz", "t.geojson.gz"]
    assert json.loads(gzip.decompress((folder / "t.geojson.gz").read_bytes()))["frugalseg"]["windows"] == ["a"]


def test_the_folder_is_read_again_as_it_was_written(tmp_path: Path) -> None:
    canvases = {"a": window("a", "s", 100, 200), "c": canvas_of(square(), "c")}
    write(tmp_path / "out", *canvases.values())
    back = FORMATS["geojson"].read(tmp_path / "out", Wanted(canvases))
    assert [canvas.name for canvas in back.canvases] == ["a", "c"]
    assert all((back.load(canvas).labels == square()).all() for canvas in back.canvases)


def test_without_slides_there_is_no_folder(tmp_path: Path) -> None:
    write(tmp_path / "out", canvas_of(square(), "c"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["c.geojson"]
