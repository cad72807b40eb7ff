"""OME-Zarr 0.4 of a slide: its own pixels at the network's scale and the label map beside them, both as pyramids.

Glass that was not looked at is white. Only chunks that hold something are files.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from frugalseg.streaming.label_tiles import LABEL_TILE_PX, label_tile, level_sizes, tile_grid
from frugalseg.streaming.outputs.extra import needed
from frugalseg.streaming.outputs.findings import Findings
from frugalseg.streaming.plan import Rect
from frugalseg.streaming.probabilities import IMAGE

LABELS = "objects"
_VERSION = "0.4"
_WHITE = 255


def write_zarr(found: Findings) -> None:
    """Write the group; it is moved into place when it is complete."""
    zarr = needed("zarr")
    part = found.tiles.folder.parent / f"{found.path.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    root = zarr.open_group(part, mode="w", zarr_format=2)
    _write_image(found, root)
    labels = root.create_group("labels")
    labels.attrs.update({"labels": [LABELS]})
    _write_labels(found, labels.create_group(LABELS))
    root.attrs.update({"multiscales": [_multiscales(found, found.name)], "omero": _omero()})
    _replace(part, found.path)


def _replace(new: Path, path: Path) -> None:
    """Put a complete folder into the place of an old one."""
    if path.exists():
        old = new.with_suffix(".old")
        shutil.rmtree(old, ignore_errors=True)
        path.replace(old)
        new.replace(path)
        shutil.rmtree(old)
    else:
        os.replace(new, path)


def _write_image(found: Findings, root: Any) -> None:
    sizes = level_sizes(found.plan)
    arrays = [_array(root, str(level), (3, height, width), np.uint8, _WHITE) for level, (width, height) in
              enumerate(sizes)]  # fmt: skip
    rows, columns = tile_grid(sizes[0])
    present = set()
    for row in range(rows):
        for column in range(columns):
            pixels = _pixels(found, _area(row, column, sizes[0]))
            if pixels is not None:
                _put(arrays[0], row, column, pixels)
                present.add((row, column))
    for level in range(1, len(sizes)):
        present = {(row // 2, column // 2) for row, column in present}
        for row, column in sorted(present):
            area = _area(row, column, sizes[level])
            _put(arrays[level], row, column, _averaged(arrays[level - 1], area))


def _pixels(found: Findings, area: Rect) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
    """What the network saw of an area, (3, H, W); None for glass alone."""
    result = None
    for tile in found.plan.tiles_of(area):
        arrays = found.tiles.get(tile.name)
        if arrays is None or IMAGE not in arrays:
            continue
        if result is None:
            result = np.full((3, area.height, area.width), _WHITE, dtype=np.uint8)
        kept = found.plan.kept_of(tile)
        shared = kept.overlap(area)
        if not shared.empty:
            result[(slice(None), *shared.within(area))] = arrays[IMAGE][shared.within(kept)].transpose(2, 0, 1)
    return result


def _averaged(array: Any, area: Rect) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An area of a level as the mean of two by two pixels of the one before; the last row or column may stand alone."""
    source = np.asarray(array[:, 2 * area.top : 2 * area.bottom, 2 * area.left : 2 * area.right])
    below, beside = 2 * area.height - source.shape[1], 2 * area.width - source.shape[2]
    full = np.pad(source, ((0, 0), (0, below), (0, beside)), mode="edge").astype(np.uint16)
    total = full[:, ::2, ::2] + full[:, 1::2, ::2] + full[:, ::2, 1::2] + full[:, 1::2, 1::2]
    return ((total + 2) // 4).astype(np.uint8)


def _write_labels(found: Findings, group: Any) -> None:
    for level, size in enumerate(level_sizes(found.plan)):
        array = _array(group, str(level), (1, size[1], size[0]), np.uint32, 0)
        rows, columns = tile_grid(size)
        for row in range(rows):
            for column in range(columns):
                tile = label_tile(found.plan, found.labels, level, row, column)
                if tile is not None:
                    _put(array, row, column, tile[None])
    group.attrs.update(
        {
            "multiscales": [_multiscales(found, LABELS)],
            "image-label": {"version": _VERSION, "source": {"image": "../../"}},
        }
    )


def _area(row: int, column: int, size: tuple[int, int]) -> Rect:
    top, left = row * LABEL_TILE_PX, column * LABEL_TILE_PX
    return Rect(left, top, min(left + LABEL_TILE_PX, size[0]), min(top + LABEL_TILE_PX, size[1]))


def _put(array: Any, row: int, column: int, pixels: Any) -> None:
    top, left = row * LABEL_TILE_PX, column * LABEL_TILE_PX
    array[:, top : top + pixels.shape[1], left : left + pixels.shape[2]] = pixels


def _array(group: Any, name: str, shape: tuple[int, int, int], dtype: Any, fill: int) -> Any:
    numcodecs = needed("numcodecs")
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(shape[0], LABEL_TILE_PX, LABEL_TILE_PX),
        compressors=[numcodecs.Zlib(level=1)],
        fill_value=fill,
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )


def _multiscales(found: Findings, name: str) -> dict[str, Any]:
    size_um = found.view_pixel_um
    across, down = found.plan.steps if size_um is None else size_um
    unit = {} if size_um is None else {"unit": "micrometer"}
    return {
        "version": _VERSION,
        "name": name,
        "axes": [{"name": "c", "type": "channel"}, {"name": "y", "type": "space", **unit},
                 {"name": "x", "type": "space", **unit}],
        "datasets": [
            {
                "path": str(level),
                "coordinateTransformations": [{"type": "scale", "scale": [1.0, down * 2**level, across * 2**level]}],
            }
            for level in range(len(level_sizes(found.plan)))
        ],
    }  # fmt: skip


def _omero() -> dict[str, Any]:
    """How viewers show the channels."""
    window = {"start": 0, "end": 255, "min": 0, "max": 255}
    return {
        "channels": [
            {"label": label, "color": colour, "active": True, "window": window}
            for label, colour in (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))
        ],
        "rdefs": {"model": "color"},
    }
