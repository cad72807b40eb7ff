"""Synthetic whole slides, written tile by tile: small files for tests, and as large as real ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal
from xml.sax.saxutils import quoteattr

import imagecodecs
import numpy as np
import tifffile
from PIL import Image as Pillow

from frugalseg.arrays import Image
from frugalseg.atomic import atomic_path
from frugalseg.errors import ConfigError, InputError
from frugalseg.synthetic.mosaic import GLASS, Mosaic, draw_mosaic

SlideKind = Literal["aperio", "tiff", "ome-tiff", "ome-zarr"]

TILE_PX = 256
_CHUNK_PX = 512
_QUALITY = 85
_THUMBNAIL_PX = 1024
_APERIO = "Aperio Image Library (synthetic)"

Pieces = dict[tuple[int, ...], tuple[int, int]]
"""Offset and size of compressed tiles in the file, by :meth:`Mosaic.key`."""


def write_synthetic_slide(
    path: Path,
    width: int,
    height: int,
    *,
    seed: int,
    pixel_size_um: float = 0.25,
    tissue: float = 0.1,
    kind: SlideKind = "aperio",
) -> None:
    """Write a pyramid of glands on glass: the same bytes for the same arguments, on one installation.

    Parameters
    ----------
    path
        A file, replaced atomically; for ``ome-zarr`` a folder, which must not exist.
    width, height
        Of level 0 in pixels; each further level is a quarter as wide and high, until 2,048 pixels hold it.
    seed
        Not negative.
    pixel_size_um
        Of level 0; glands are as large as real ones.
    tissue
        Share of the slide that shows tissue, 0-1, in fields of 1,024 pixels.
    kind
        ``aperio``: an SVS file (JPEG) that OpenSlide reads. ``tiff``: a plain pyramid of reduced pages with resolution
        tags. ``ome-tiff``: levels as SubIFDs, OME-XML. ``ome-zarr``: version 0.5 (Zarr 3), axes c, y, x.

    Raises
    ------
    ValueError
        Impossible sizes or shares.
    InputError
        The folder for an OME-Zarr exists.
    ConfigError
        Zarr is not installed (extra ``wsi``).

    Notes
    -----
    The tissue repeats a few pictures, and equal tiles of a TIFF are stored once, at one offset: 100,000 x 80,000
    pixels take some megabytes. Memory does not grow with the size, except for two numbers a tile.
    """
    path = Path(path)
    if min(width, height) < 1 or pixel_size_um <= 0 or not 0 <= tissue <= 1:
        raise ValueError(f"{width} x {height} pixels of {pixel_size_um} µm with a share {tissue} of tissue")
    mosaic = draw_mosaic(width, height, seed=seed, pixel_size_um=pixel_size_um, tissue=tissue)
    if kind == "ome-zarr":
        _write_zarr(path, mosaic, pixel_size_um)
        return
    with atomic_path(path) as temporary:
        _write_headers(temporary, mosaic, kind, pixel_size_um)
        _write_tiles(temporary, mosaic)


def _write_headers(path: Path, mosaic: Mosaic, kind: SlideKind, pixel_size_um: float) -> None:
    """All directories of the TIFF file, as tifffile writes them for images without a single tile."""
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        for level, (width, height) in enumerate(mosaic.sizes):
            options: dict[str, Any] = {"description": _description(mosaic, level, kind, pixel_size_um)}
            if kind == "tiff":
                per_cm = 1e4 / (pixel_size_um * mosaic.sizes[0][0] / width)
                options |= {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
            if kind == "ome-tiff" and level == 0:
                options["subifds"] = len(mosaic.sizes) - 1
            if kind != "aperio" and level > 0:  # Aperio does not flag its levels
                options["subfiletype"] = 1
            writer.write(
                iter([b""] * _n_tiles(width, height)),
                shape=(height, width, 3),
                dtype="uint8",
                tile=(TILE_PX, TILE_PX),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                metadata=None,
                software=False,
                **options,
            )
            if kind == "aperio" and level == 0:
                thumbnail = _thumbnail(mosaic)
                size = f"{mosaic.sizes[0][0]}x{mosaic.sizes[0][1]} -> {thumbnail.shape[1]}x{thumbnail.shape[0]}"
                writer.write(
                    thumbnail,
                    photometric="rgb",
                    rowsperstrip=16,
                    compression="lzw",
                    description=f"{_APERIO}\r\n{size} - |AppMag = {10 / pixel_size_um:g}|MPP = {pixel_size_um:g}",
                    metadata=None,
                    software=False,
                )


def _thumbnail(mosaic: Mosaic) -> Image:
    """The slide in little, which scanners store as the second image."""
    level = len(mosaic.sizes) - 1
    width, height = mosaic.sizes[level]
    picture = np.full((height, width, 3), GLASS, dtype=np.uint8)
    for x, y in _corners(mosaic, level, TILE_PX):
        tile = mosaic.tile(level, x, y, TILE_PX)
        picture[y : y + TILE_PX, x : x + TILE_PX] = tile[: height - y, : width - x]
    scale = min(1.0, _THUMBNAIL_PX / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Pillow.fromarray(picture).resize(size, Pillow.Resampling.BOX))


def _description(mosaic: Mosaic, level: int, kind: SlideKind, pixel_size_um: float) -> str | None:
    width, height = mosaic.sizes[level]
    full_width, full_height = mosaic.sizes[0]
    if kind == "aperio":
        whole = f"{full_width}x{full_height} [0,0 {full_width}x{full_height}] ({TILE_PX}x{TILE_PX})"
        scaled = "" if level == 0 else f" -> {width}x{height}"
        objective = 10 / pixel_size_um
        return f"{_APERIO}\r\n{whole}{scaled} JPEG/RGB Q={_QUALITY}|AppMag = {objective:g}|MPP = {pixel_size_um:g}"
    if kind == "ome-tiff" and level == 0:
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0" Name="synthetic">'
            f'<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="{width}" SizeY="{height}" SizeC="3" '
            f'SizeZ="1" SizeT="1" PhysicalSizeX={quoteattr(f"{pixel_size_um:g}")} '
            f"PhysicalSizeY={quoteattr(f'{pixel_size_um:g}')}>"
            '<Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1"/></Pixels></Image></OME>'
        )
    return None


def _write_tiles(path: Path, mosaic: Mosaic) -> None:
    """Append every distinct tile once, and enter its place wherever it is seen."""
    places = []
    with path.open("ab") as stream:
        pieces: Pieces = {}
        for level in range(len(mosaic.sizes)):
            corners = _corners(mosaic, level, TILE_PX)
            places.append([_place(stream, pieces, mosaic, level, x, y) for x, y in corners])
            pieces = {key: place for key, place in pieces.items() if key == ()}  # others are of one level
    with tifffile.TiffFile(path, mode="r+") as tiff:
        first = tiff.pages.first
        pages = [first, *(first.pages or ())] if first.subifds else list(tiff.pages)
        tiled = [page.aspage() for page in pages if page.aspage().is_tiled]  # all but the thumbnail
        for page, level_places in zip(tiled, places, strict=True):
            tags = page.tags
            tags["TileOffsets"].overwrite([offset for offset, _ in level_places])
            tags["TileByteCounts"].overwrite([size for _, size in level_places])


def _place(stream: BinaryIO, pieces: Pieces, mosaic: Mosaic, level: int, x: int, y: int) -> tuple[int, int]:
    key = mosaic.key(level, x, y, TILE_PX)
    if key not in pieces:
        encoded = imagecodecs.jpeg8_encode(
            mosaic.tile(level, x, y, TILE_PX),
            level=_QUALITY,
            colorspace="rgb",
            outcolorspace="ycbcr",
            subsampling=(2, 2),
        )
        pieces[key] = (stream.tell(), stream.write(encoded))
    return pieces[key]


def _corners(mosaic: Mosaic, level: int, side: int) -> Iterator[tuple[int, int]]:
    """Left upper corners (x, y) of a level's tiles, row by row."""
    width, height = mosaic.sizes[level]
    return ((x, y) for y in range(0, height, side) for x in range(0, width, side))


def _n_tiles(width: int, height: int) -> int:
    return -(-width // TILE_PX) * -(-height // TILE_PX)


def _write_zarr(folder: Path, mosaic: Mosaic, pixel_size_um: float) -> None:
    try:
        import zarr
    except ImportError:
        raise ConfigError("kind", "Zarr is not installed: pip install 'frugalseg[wsi]'") from None
    if folder.exists():
        raise InputError(folder, "exists already")
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    group = zarr.open_group(unfinished, mode="w", zarr_format=3)
    datasets = []
    for level, (width, height) in enumerate(mosaic.sizes):
        chunk = min(_CHUNK_PX, 1 << (max(width, height) - 1).bit_length())
        array = group.create_array(
            str(level), shape=(3, height, width), chunks=(3, chunk, chunk), dtype="uint8", fill_value=GLASS
        )
        for x, y in _corners(mosaic, level, chunk):
            if mosaic.key(level, x, y, chunk):
                tile = mosaic.tile(level, x, y, chunk)[: height - y, : width - x]
                array[:, y : y + tile.shape[0], x : x + tile.shape[1]] = np.moveaxis(tile, -1, 0)
        steps = [1.0, pixel_size_um * mosaic.sizes[0][1] / height, pixel_size_um * mosaic.sizes[0][0] / width]
        datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": steps}]})
    axes: list[Any] = [{"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    document: Any = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    group.attrs["ome"] = document
    unfinished.replace(folder)
