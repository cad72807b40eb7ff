"""Label map of a slide as a tiled, pyramidal OME-TIFF at the network's scale."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from xml.sax.saxutils import quoteattr

import numpy as np
import tifffile

from frugalseg.atomic import atomic_path
from frugalseg.streaming.label_tiles import LABEL_TILE_PX, label_tile, level_sizes, tile_grid
from frugalseg.streaming.outputs.findings import Findings

_LEVEL = 1


def write_tiff(found: Findings) -> None:
    """Write 32-bit labels, deflated; smaller levels are SubIFDs, as QuPath and Bio-Formats read them."""
    sizes = level_sizes(found.plan)
    size_um = found.view_pixel_um
    resolution = None if size_um is None else (1e4 / size_um[0], 1e4 / size_um[1])
    with atomic_path(found.path) as temporary, tifffile.TiffWriter(temporary, bigtiff=True) as writer:
        for level, (width, height) in enumerate(sizes):
            writer.write(
                _tiles(found, level),
                shape=(height, width),
                dtype=np.uint32,
                tile=(LABEL_TILE_PX, LABEL_TILE_PX),
                compression="zlib",
                photometric="minisblack",
                metadata=None,
                description=_ome(found) if level == 0 else None,
                subifds=len(sizes) - 1 if level == 0 else None,
                subfiletype=0 if level == 0 else 1,
                resolutionunit="CENTIMETER" if size_um is not None and level == 0 else None,
                resolution=resolution if level == 0 else None,
            )


def _tiles(found: Findings, level: int) -> Iterator[bytes]:
    """All tiles of a level in reading order, deflated."""
    rows, columns = tile_grid(level_sizes(found.plan)[level])
    nothing = zlib.compress(bytes(4 * LABEL_TILE_PX**2), _LEVEL)
    for row in range(rows):
        for column in range(columns):
            tile = label_tile(found.plan, found.labels, level, row, column)
            if tile is None:
                yield nothing
                continue
            full = np.zeros((LABEL_TILE_PX, LABEL_TILE_PX), dtype="<u4")
            full[: tile.shape[0], : tile.shape[1]] = tile
            yield zlib.compress(full.tobytes(), _LEVEL)


def _ome(found: Findings) -> str:
    """OME-XML without identifiers made by chance, so that the same labels make the same file."""
    size_um = found.view_pixel_um
    size = "" if size_um is None else (
        f' PhysicalSizeX="{size_um[0]:.9g}" PhysicalSizeXUnit="&#181;m"'
        f' PhysicalSizeY="{size_um[1]:.9g}" PhysicalSizeYUnit="&#181;m"'
    )  # fmt: skip
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation='
        '"http://www.openmicroscopy.org/Schemas/OME/2016-06'
        ' http://www.openmicroscopy.org/Schemas/OME/2016-06/ome.xsd">'
        f'<Image ID="Image:0" Name={quoteattr(_ascii(found.name) + " labels")}>'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint32" SizeX="{found.plan.width}"'
        f' SizeY="{found.plan.height}" SizeC="1" SizeZ="1" SizeT="1"{size}>'
        '<Channel ID="Channel:0:0" SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="1"/>'
        "</Pixels></Image></OME>"
    )


def _ascii(text: str) -> str:
    """TIFF texts are ASCII."""
    return text.encode("ascii", "replace").decode()
