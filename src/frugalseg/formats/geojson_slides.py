"""Annotated windows of slides as one GeoJSON a slide, in pixels of the slide's finest level: what QuPath opens."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from frugalseg.formats.annotated import Annotated, AnnotationSet, Canvas

FOLDER = "slides"
"""Beside the images' files: so that a folder is read again as it was written, and names of both may be equal."""

Features = Callable[[Annotated], Iterator[tuple[dict[str, Any], bool]]]


def slide_files(
    folder: Path, drawn: AnnotationSet, features: Features
) -> Iterator[tuple[str, dict[str, Any], Iterator[dict[str, Any]]]]:
    """For every slide with windows in the set: its name, what is said of it, and the features of all its windows.

    Parameters
    ----------
    folder
        Gets a folder for the slides' files, if there are any.
    drawn
        Images, windows of slides among them.
    features
        Gives the features of one image, in its own pixels.
    """
    windows: dict[str, list[Canvas]] = defaultdict(list)
    for canvas in drawn.canvases:
        if canvas.slide is not None:
            windows[canvas.slide.name].append(canvas)
    if windows:
        (folder / FOLDER).mkdir()
    for name, canvases in sorted(windows.items()):
        first = canvases[0].slide
        assert first is not None
        about = {
            "slide": name,
            "width": first.slide_width,
            "height": first.slide_height,
            "windows": [canvas.name for canvas in canvases],
        }
        yield name, about, (each for canvas in canvases for each in _placed(drawn.load(canvas), features))


def _placed(drawn: Annotated, features: Features) -> Iterator[dict[str, Any]]:
    """The features of a window at their places; the window itself is the part that was worked on."""
    canvas = drawn.canvas
    whole = drawn.window or (0, 0, canvas.width, canvas.height)
    for each, _ in features(dataclasses.replace(drawn, window=whole)):
        geometry = each["geometry"]
        moved = {**geometry, "coordinates": _moved(geometry["coordinates"], canvas)}
        properties = {**each["properties"], "metadata": {"image": canvas.name}}
        yield {**each, "geometry": moved, "properties": properties}


def _moved(coordinates: Any, canvas: Canvas) -> Any:
    """Nested lists of points (x, y) of an image, in pixels of its slide."""
    place = canvas.slide
    assert place is not None
    if isinstance(coordinates[0], int | float):
        across, down = place.width / canvas.width, place.height / canvas.height
        x, y = place.x + coordinates[0] * across, place.y + coordinates[1] * down
        return [int(x) if x == int(x) else round(x, 2), int(y) if y == int(y) else round(y, 2)]
    return [_moved(each, canvas) for each in coordinates]


def write_collection(
    stream: BinaryIO, about: dict[str, Any], features: Iterator[dict[str, Any]], dumps: Callable[[Any], bytes]
) -> None:
    """A feature collection, feature by feature."""
    stream.write(b'{"type":"FeatureCollection","frugalseg":' + dumps(about) + b',"features":[')
    separator = b"\n"
    for each in features:
        stream.write(separator + dumps(each))
        separator = b",\n"
    stream.write(b"\n]}\n")
