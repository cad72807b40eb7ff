"""What is written of a slide's objects: one module a file, in `OUTPUTS`."""

from __future__ import annotations

from collections.abc import Callable

from frugalseg.streaming.outputs.findings import Findings
from frugalseg.streaming.outputs.geojson import write_geojson
from frugalseg.streaming.outputs.overview import write_overview
from frugalseg.streaming.outputs.table import write_table
from frugalseg.streaming.outputs.tiff import write_tiff
from frugalseg.streaming.outputs.zarr import write_zarr

__all__ = ["OUTPUTS", "Findings"]

OUTPUTS: dict[str, tuple[str, Callable[[Findings], None]]] = {
    "geojson": (".geojson.gz", write_geojson),
    "tiff": (".labels.ome.tif", write_tiff),
    "zarr": (".ome.zarr", write_zarr),
    "parquet": (".objects.parquet", write_table),
    "overview": (".overview.jpg", write_overview),
}
"""For each output the ending of its name, and what writes it."""
