"""Annotations as other programs write and read them.

A format writes an :class:`AnnotationSet` and reads one; it knows neither projects nor networks. ``trace`` and
``raster`` turn objects into polygons and back; ``board`` is where what a file holds is drawn; ``json_stream`` and
``pickled`` read files from strangers. No file is unpickled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from frugalseg.formats.annotated import (
    Annotated,
    AnnotationSet,
    Canvas,
    OnSlide,
    Wanted,
    Window,
    WriteSettings,
    Written,
)
from frugalseg.formats.cellpose import read_cellpose, write_cellpose
from frugalseg.formats.coco import write_coco
from frugalseg.formats.coco_reading import read_coco
from frugalseg.formats.geojson import write_geojson
from frugalseg.formats.geojson_reading import read_geojson
from frugalseg.formats.labels import read_labels, write_labels
from frugalseg.formats.nnunet import read_nnunet, write_nnunet

__all__ = [
    "FORMATS",
    "Annotated",
    "AnnotationSet",
    "Canvas",
    "Format",
    "OnSlide",
    "Wanted",
    "Window",
    "WriteSettings",
    "Written",
]


@dataclass(frozen=True)
class Format:
    """How a format is written, to a new folder or file, and read."""

    write: Callable[[Path, AnnotationSet, WriteSettings], Written]
    read: Callable[[Path, Wanted], AnnotationSet]


FORMATS: dict[str, Format] = {
    "labels": Format(write_labels, read_labels),
    "geojson": Format(write_geojson, read_geojson),
    "coco": Format(write_coco, read_coco),
    "cellpose": Format(write_cellpose, read_cellpose),
    "nnunet": Format(write_nnunet, read_nnunet),
}
"""All formats by name."""
