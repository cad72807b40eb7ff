"""Table of a slide's objects as Parquet: one row an object, by label."""

from __future__ import annotations

from typing import Any

import numpy as np

from frugalseg.atomic import atomic_path
from frugalseg.streaming.objects import Objects
from frugalseg.streaming.outputs.extra import needed
from frugalseg.streaming.outputs.findings import Findings
from frugalseg.streaming.shapes import SHAPES

_IN_UM = {
    "area_um2": ("area_px", 2),
    "perimeter_um": ("perimeter_px", 1),
    "major_axis_um": ("major_axis_px", 1),
    "minor_axis_um": ("minor_axis_px", 1),
    "centroid_x_um": ("centroid_x_px", 1),
    "centroid_y_um": ("centroid_y_px", 1),
}


def write_table(found: Findings) -> None:
    """Write the table, a group of rows for each block of objects; lengths are pixels of level 0."""
    arrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")
    fields = [("label", arrow.int64()), ("class", arrow.string()), ("confidence", arrow.float32())]
    fields += [(name, arrow.float64()) for name in ("x_px", "y_px", "width_px", "height_px")]
    fields += [(name, arrow.float64()) for name in SHAPES]
    fields += [(name, arrow.float64()) for name in _IN_UM if found.pixel_size_um is not None]
    schema = arrow.schema([*fields, ("piece_of_cut", arrow.bool_())])
    with atomic_path(found.path) as temporary, parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for label, part in found.parts():
            if len(part):
                columns = _columns(found, part, label)
                writer.write_table(arrow.table([arrow.array(columns[name]) for name in schema.names], schema.names)
                                   .cast(schema))  # fmt: skip


def _columns(found: Findings, part: Objects, label: int) -> dict[str, Any]:
    across, down = found.plan.steps
    boxes = part.boxes * np.array([across, down, across, down])
    columns: dict[str, Any] = {
        "label": np.arange(label, label + len(part)),
        "class": [found.class_names[number] for number in part.classes.tolist()],
        "confidence": np.round(part.confidences, 6).astype(np.float32),
        "x_px": boxes[:, 0],
        "y_px": boxes[:, 1],
        "width_px": boxes[:, 2] - boxes[:, 0],
        "height_px": boxes[:, 3] - boxes[:, 1],
        "piece_of_cut": part.pieces,
    }
    columns |= {name: part.shapes[:, place] for place, name in enumerate(SHAPES)}
    if found.pixel_size_um is not None:
        columns |= {name: columns[of] * found.pixel_size_um**power for name, (of, power) in _IN_UM.items()}
    return columns
