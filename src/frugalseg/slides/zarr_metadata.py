"""What an OME-Zarr folder says of itself, read as plain JSON before any library opens it.

Zarr's metadata names codecs, and some codecs run whatever code is in the data (pickle). So names are compared with a
list first; and sizes and chunks with the limits, so that no chunk is decoded that is larger than it may be.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from frugalseg.errors import InputError
from frugalseg.images.guard import system_reason
from frugalseg.images.headers import UNITS_UM
from frugalseg.slides.pieces import MAX_PIECE_BYTES
from frugalseg.slides.pixel_size import stated

MAX_JSON_BYTES = 4 * 2**20
MAX_LEVELS = 64
COMPRESSORS = ("blosc", "gzip", "lz4", "zlib", "zstd")
"""Whose chunks are judged before they are decoded."""

_V2_FILTERS = ("shuffle", "delta", "crc32c")
_V3_CODECS = ("bytes", "transpose", "blosc", "gzip", "zstd", "crc32c", "sharding_indexed")
_V2_TYPES = {"|u1": 1, "<u1": 1, ">u1": 1, "<u2": 2, ">u2": 2}
_V3_TYPES = {"uint8": 1, "uint16": 2}


@dataclass(frozen=True)
class StoredArray:
    """How one size of a picture is stored.

    Attributes
    ----------
    name
        Its path inside the folder.
    shape, chunks
        By axis; of the inner chunks, where those are packed in shards.
    chunk_bytes
        Of a decoded chunk.
    compressor
        One of `COMPRESSORS`, or None.
    """

    name: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    chunk_bytes: int
    compressor: str | None
    is_sharded: bool


@dataclass(frozen=True)
class Multiscale:
    """A picture in several sizes.

    Attributes
    ----------
    axes
        Names in the arrays' order: ``t``, ``c``, ``z``, ``y``, ``x``.
    arrays
        Finest first.
    format
        Zarr's: 2 (OME-Zarr 0.4) or 3 (0.5).
    pixel_size_um
        Of the finest.
    """

    axes: str
    arrays: tuple[StoredArray, ...]
    format: int
    pixel_size_um: float | None


def is_ome_zarr(folder: Path) -> bool:
    """Whether a folder says that it is an OME-Zarr picture."""
    for name in ("zarr.json", ".zattrs"):
        try:
            with (folder / name).open("rb") as stream:
                if b'"multiscales"' in stream.read(MAX_JSON_BYTES):
                    return True
        except OSError:
            continue
    return False


def read_multiscale(folder: Path) -> Multiscale:
    """The first picture of an OME-Zarr folder, checked.

    Raises
    ------
    InputError
        No such picture, or one that contradicts itself, is too large, or asks for a codec that is not on the list.
    """
    zarr_format, ome = _ome_document(folder)
    try:
        picture = ome["multiscales"][0]
        axes = _axes(folder, picture)
        datasets = picture["datasets"]
        if not 1 <= len(datasets) <= MAX_LEVELS:
            raise InputError(folder, f"has {len(datasets)} levels, 1 to {MAX_LEVELS} can be read")
        names = [_inside(folder, dataset["path"]) for dataset in datasets]
        arrays = tuple(_array(folder, name, zarr_format, len(axes)) for name in names)
        size = _pixel_size(folder, picture, axes)
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise InputError(folder, f"is damaged: its OME metadata make no sense ({type(error).__name__})") from error
    return Multiscale(axes, arrays, zarr_format, size)


def _ome_document(folder: Path) -> tuple[int, dict[str, Any]]:
    """Zarr's format and the metadata that hold ``multiscales``."""
    if (folder / "zarr.json").exists():
        attributes = _json(folder / "zarr.json").get("attributes")
        ome = attributes.get("ome") if isinstance(attributes, dict) else None
        found = 3
    else:
        ome, found = _json(folder / ".zattrs"), 2
    if not isinstance(ome, dict) or not ome.get("multiscales"):
        raise InputError(folder, "is no OME-Zarr picture (it has no multiscales)")
    return found, ome


def _json(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise InputError(path, system_reason(error)) from error
    if len(content) > MAX_JSON_BYTES:
        raise InputError(path, "is too large for metadata (4 MiB)")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(path, "is damaged: no JSON") from error
    if not isinstance(document, dict):
        raise InputError(path, "is damaged: no JSON object")
    return document


def _axes(folder: Path, picture: dict[str, Any]) -> str:
    axes = "".join(axis["name"] if isinstance(axis, dict) else axis for axis in picture.get("axes", "tczyx"))
    if len(set(axes)) < len(axes) or not set("yx") <= set(axes) <= set("tczyx"):
        raise InputError(folder, f"has axes {axes[:40]!r}; t, c, z, y and x are known, y and x are needed")
    return axes


def _inside(folder: Path, name: Any) -> str:
    """A path that stays in the folder."""
    inner = PurePosixPath(name)
    if inner.is_absolute() or ".." in inner.parts or "\\" in name or ":" in name or not inner.parts:
        raise InputError(folder, f"names a level outside of itself: {name[:80]!r}")
    return str(inner)


def _array(folder: Path, name: str, zarr_format: int, n_axes: int) -> StoredArray:
    """An array whose type, codecs and sizes are allowed."""
    where = folder / name
    read = _array_v2 if zarr_format == 2 else _array_v3
    shape, outer, inner, compressors, item_bytes = read(where)
    if item_bytes is None:
        raise InputError(where, "holds samples that are not read; uint8 and uint16 are")
    if len(compressors) > 1:
        raise InputError(where, f"is compressed more than once ({', '.join(compressors)})")
    for numbers in (shape, outer, inner):
        if len(numbers) != n_axes or not all(type(n) is int and n > 0 for n in numbers):
            raise InputError(where, f"has a shape or chunks that do not fit its {n_axes} axes")
    chunk_bytes = math.prod(inner) * item_bytes
    if chunk_bytes > MAX_PIECE_BYTES:
        limit = MAX_PIECE_BYTES / 2**20
        raise InputError(where, f"has chunks of {' x '.join(map(str, inner))}, larger than {limit:.0f} MiB")
    compressor = compressors[0] if compressors else None
    return StoredArray(name, shape, inner, chunk_bytes, compressor, outer != inner)


_Described = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], list[str], int | None]
"""Shape, chunks in the grid, chunks as they are packed, compressors, bytes of a sample."""


def _array_v2(where: Path) -> _Described:
    document = _json(where / ".zarray")
    compressor, filters = document["compressor"], [part["id"] for part in document["filters"] or []]
    compressors = [] if compressor is None else [compressor["id"]]
    _refuse_codecs(where, [name for name in compressors if name not in COMPRESSORS])
    _refuse_codecs(where, [name for name in filters if name not in _V2_FILTERS])
    chunks = tuple(document["chunks"])
    return tuple(document["shape"]), chunks, chunks, compressors, _V2_TYPES.get(document["dtype"])


def _array_v3(where: Path) -> _Described:
    document = _json(where / "zarr.json")
    codecs = document["codecs"]
    grid = document["chunk_grid"]
    if grid["name"] != "regular":
        raise InputError(where, f"has chunks on a grid that is not read ({str(grid['name'])[:40]})")
    outer = inner = tuple(grid["configuration"]["chunk_shape"])
    names = [codec["name"] for codec in codecs]
    if names == ["sharding_indexed"]:
        settings = codecs[0]["configuration"]
        inner = tuple(settings["chunk_shape"])
        names = [codec["name"] for codec in settings["codecs"]]
        _refuse_codecs(
            where, [part["name"] for part in settings.get("index_codecs", ()) if part["name"] in COMPRESSORS]
        )
    if "sharding_indexed" in names:
        raise InputError(where, "is packed in shards that are packed once more, which is not read")
    _refuse_codecs(where, [name for name in names if name not in _V3_CODECS])
    compressors = [name for name in names if name in COMPRESSORS]
    return tuple(document["shape"]), outer, inner, compressors, _V3_TYPES.get(document["data_type"])


def _refuse_codecs(where: Path, names: list[Any]) -> None:
    if names:
        raise InputError(where, f"is packed by codecs that are not read: {', '.join(map(str, names))[:80]}")


def _pixel_size(folder: Path, picture: dict[str, Any], axes: str) -> float | None:
    """From the scales of the finest level and of all levels together; None without a unit of length."""
    steps = [1.0] * len(axes)
    for transform in (
        *(picture["datasets"][0].get("coordinateTransformations") or ()),
        *(picture.get("coordinateTransformations") or ()),
    ):
        if transform.get("type") == "scale":
            if len(transform["scale"]) != len(axes):
                raise InputError(folder, f"has scales {str(transform['scale'])[:60]} for {len(axes)} axes")
            steps = [step * float(factor) for step, factor in zip(steps, transform["scale"], strict=True)]
    sizes = []
    for axis in "xy":
        description = picture.get("axes", [])[axes.index(axis)]
        unit = description.get("unit") if isinstance(description, dict) else None
        factor = UNITS_UM.get(unit) if isinstance(unit, str) else None
        if factor is None:
            return None
        sizes.append(steps[axes.index(axis)] * factor)
    return stated(folder, "OME-Zarr scale", *sizes)
