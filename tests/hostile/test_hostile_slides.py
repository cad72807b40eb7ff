"""Files with a few bits, bytes, fields or lengths changed: each is read, or refused in a line that names it.

The mutations are drawn from a seed. Slides are decoded by one reader process that lives on (one for each would take
hours); where a file ends it, it is replaced, and this process never notices more than an error.
"""

from __future__ import annotations

import io
import json
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image as Pillow

from frugalseg.errors import InputError
from frugalseg.formats import Canvas, Wanted
from frugalseg.formats.geojson_reading import read_geojson
from frugalseg.images import read_image
from frugalseg.slides import ReaderProcess, Slide, is_slide
from frugalseg.synthetic import write_synthetic_slide

Files = dict[str, bytes]
"""Contents by path in a folder; the first is what is opened, unless there are several: then their folder is."""

RNG = np.random.default_rng(0)
PIXELS = np.asarray(
    Pillow.fromarray(RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize((160, 120), Pillow.Resampling.BICUBIC)
)
WORDS = (0, 1, 2, 3, 7, 8, 16, 255, 256, 65535, 2**16, 2**20, 2**31 - 1, 2**31, 2**32 - 1)
STRANGE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    1e308,
    "",
    "..",
    "/",
    "é\ud800",
    [],
    {},
    [[]],
    [0],
    "x" * 9999,
)
SLOWEST_S = 20.0


# ---------------------------------------------------------------------------------------------- what is mutated


def tiffs(folder: Path) -> list[Files]:
    sources = []
    for number, options in enumerate(
        (
            {"tile": (64, 64), "compression": "zlib", "predictor": True},
            {"tile": (64, 64), "compression": "jpeg"},
            {"tile": (64, 64), "compression": "lzw", "bigtiff": True},
            {"tile": (64, 64), "compression": "jpeg2000"},
            {"rowsperstrip": 16, "compression": "zstd"},
            {"rowsperstrip": 16, "byteorder": ">"},
            {"rowsperstrip": 40, "compression": "packbits", "metadata": {"axes": "YXS"}, "ome": True},
        )
    ):
        stream = io.BytesIO()
        opened = {key: options.pop(key) for key in ("bigtiff", "byteorder", "ome") if key in options}
        with tifffile.TiffWriter(stream, **opened) as writer:
            resolution: Any = {"resolution": (40000, 40000), "resolutionunit": "CENTIMETER"}
            writer.write(PIXELS, photometric="rgb", subifds=1 if number % 2 else 0, **resolution, **options)
            options.pop("metadata", None)
            half = np.ascontiguousarray(PIXELS[::2, ::2])
            writer.write(half, photometric="rgb", subfiletype=1, metadata=None, **options)
        sources.append({"x.tif": stream.getvalue()})
    return sources


def scanners(folder: Path) -> list[Files]:
    write_synthetic_slide(folder / "x.svs", 300, 220, seed=1, tissue=1, kind="aperio")
    return [{"x.svs": (folder / "x.svs").read_bytes()}]


def pngs(folder: Path) -> list[Files]:
    pictures = [
        Pillow.fromarray(PIXELS),
        Pillow.fromarray(PIXELS[..., 0]),
        Pillow.fromarray(PIXELS).quantize(16),
        Pillow.fromarray(np.dstack([PIXELS, PIXELS[..., :1]])),
        Pillow.fromarray(PIXELS[..., 0].astype(np.uint16) * 257),
    ]
    sources = []
    for picture in pictures:
        stream = io.BytesIO()
        picture.save(stream, "PNG", dpi=(101600, 101600))
        sources.append({"x.png": stream.getvalue()})
    import imagecodecs

    sources.append({"x.png": imagecodecs.png_encode(PIXELS.astype(np.uint16) * 257)})
    return sources


def geojsons(folder: Path) -> list[Files]:
    ring = [[10, 10], [90, 12], [80, 70], [20, 60], [10, 10]]
    hole = [[30, 30], [40, 30], [40, 40], [30, 30]]
    features = [
        {
            "type": "Feature",
            "id": f"{number}",
            "geometry": {"type": kind, "coordinates": coordinates},
            "properties": {
                "objectType": "annotation",
                "classification": {"name": "gland", "color": [1, 2, 3]},
                "measurements": {"area": 1.5},
            },
        }
        for number, (kind, coordinates) in enumerate(
            [("Polygon", [ring, hole]), ("MultiPolygon", [[ring], [[[x + 60, y + 40] for x, y in hole]]])]
        )
    ]
    text = json.dumps({"type": "FeatureCollection", "features": features})
    return [{"x.geojson": text.encode()}, {"x.geojson": json.dumps(features, indent=1).encode()}]


def zarrs(folder: Path) -> list[Files]:
    sources = []
    for version, axes, compressor in (("0.4", "cyx", "blosc"), ("0.4", "yx", "zlib"), ("0.5", "cyx", "zstd")):
        place = folder / f"{version}-{axes}"
        group = zarr.open_group(place, mode="w", zarr_format=2 if version == "0.4" else 3)
        datasets = []
        for level in range(2):
            samples = PIXELS[:: level + 1, :: level + 1]
            samples = np.moveaxis(samples, -1, 0) if axes == "cyx" else samples[..., 0]
            options: Any = {"compressor": packed(compressor)} if version == "0.4" else {}
            chunks = tuple(min(64, side) for side in samples.shape)
            array = group.create_array(str(level), shape=samples.shape, dtype="uint8", chunks=chunks, **options)
            array[...] = samples
            scale = [0.5 * (level + 1) if axis in "yx" else 1.0 for axis in axes]
            datasets.append({"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
        described = [{"name": axis} | ({} if axis == "c" else {"type": "space", "unit": "micrometer"}) for axis in axes]
        multiscales: Any = [{"version": version, "axes": described, "datasets": datasets}]
        group.attrs.update({"multiscales": multiscales} if version == "0.4" else {"ome": {"multiscales": multiscales}})
        files = sorted(path for path in place.rglob("*") if path.is_file())
        sources.append({path.relative_to(place).as_posix(): path.read_bytes() for path in files})
    return sources


def packed(name: str) -> Any:
    import numcodecs

    return {"blosc": numcodecs.Blosc(), "zlib": numcodecs.Zlib()}[name]


# ---------------------------------------------------------------------------------------------- mutations


def mutated(rng: np.random.Generator, source: Files) -> Files:
    """One file of the source changed in one way, or seldom in several."""
    files = dict(source)
    names = sorted(files)
    for _ in range(1 + int(rng.random() < 0.2)):
        name = names[int(rng.integers(len(names)))]
        ways: list[Callable[[np.random.Generator, bytes], bytes]] = [flip, flip, cut, words, words, moved]
        if name.endswith((".tif", ".svs")):
            ways += [tagged] * 6
        if name.endswith(("json", ".zarray", ".zattrs")):
            ways += [rewritten] * 6
        files[name] = ways[int(rng.integers(len(ways)))](rng, files[name])
        if name.endswith(".png") and rng.random() < 0.7:
            files[name] = mended(files[name])
    return files


def flip(rng: np.random.Generator, content: bytes) -> bytes:
    changed = bytearray(content)
    for at in rng.integers(0, max(1, len(changed)), int(rng.integers(1, 12))) if changed else ():
        changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut(rng: np.random.Generator, content: bytes) -> bytes:
    return content[: int(rng.integers(0, len(content) + 1))]


def words(rng: np.random.Generator, content: bytes) -> bytes:
    """A number of 2, 4 or 8 bytes, in either order, that means much or nothing; often near the beginning."""
    changed = bytearray(content)
    size, code = [(2, "H"), (4, "I"), (8, "Q")][int(rng.integers(3))]
    end = min(len(changed), 400) if rng.random() < 0.6 else len(changed)
    at = int(rng.integers(0, max(1, end - size + 1)))
    value = WORDS[int(rng.integers(len(WORDS)))] & (2 ** (8 * size) - 1)
    changed[at : at + size] = struct.pack("<>"[int(rng.integers(2))] + code, value)
    return bytes(changed)


def moved(rng: np.random.Generator, content: bytes) -> bytes:
    """A piece removed, repeated, or blank."""
    start = int(rng.integers(0, len(content) + 1))
    piece = content[start : start + int(rng.integers(1, 200))]
    new = [b"", piece * 2, bytes(len(piece)), b"\xff" * len(piece)][int(rng.integers(4))]
    return content[:start] + new + content[start + len(piece) :]


def mended(content: bytes) -> bytes:
    """A PNG file whose check sums fit, so that decoders get to see what was changed."""
    changed = bytearray(content)
    at = 8
    while at + 12 <= len(changed):
        (length,) = struct.unpack_from(">I", changed, at)
        if at + 12 + length > len(changed):
            break
        struct.pack_into(">I", changed, at + 8 + length, zlib.crc32(changed[at + 4 : at + 8 + length]))
        at += 12 + length
    return bytes(changed)


def tagged(rng: np.random.Generator, content: bytes) -> bytes:
    """Type, count or value of a TIFF tag changed."""
    places = entries(content)
    if not places:
        return content
    order, at, is_big = places[int(rng.integers(len(places)))]
    changed = bytearray(content)
    value = WORDS[int(rng.integers(len(WORDS)))]
    if rng.random() < 0.15:
        changed[at + 2 : at + 4] = struct.pack(order + "H", value & 31)
    else:
        field = int(rng.integers(2))  # count, or value
        size, code = (8, "Q") if is_big else (4, "I")
        changed[at + 4 + field * size : at + 4 + (field + 1) * size] = struct.pack(order + code, value)
    return bytes(changed[: len(content)])


def entries(content: bytes) -> list[tuple[str, int, bool]]:
    """Byte order and place of every tag, and whether it is BigTIFF's."""
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as tiff:
            pages = [tiff.pages.first, *(tiff.pages.first.pages or ()), *list(tiff.pages)[1:]]
            return [(tiff.byteorder, tag.offset, tiff.is_bigtiff) for page in pages for tag in page.aspage().tags]
    except Exception:  # a second mutation of what is no TIFF file any more
        return []


def rewritten(rng: np.random.Generator, content: bytes) -> bytes:
    """A value somewhere in a JSON document replaced, or its key lost."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return content
    places = list(inside(document))
    if places:
        holder, key = places[int(rng.integers(len(places)))]
        if rng.random() < 0.2:
            del holder[key]
        else:
            holder[key] = STRANGE[int(rng.integers(len(STRANGE)))]
    text = json.dumps(document)
    if rng.random() < 0.03:
        text = "[" * 100_000 + text
    return text.encode()


def inside(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON document: what holds it, and the key or number."""
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in list(items):
        yield document, key
        yield from inside(value)


# ---------------------------------------------------------------------------------------------- reading them


class Readers:
    """Ways to read a file, with one reader process for slides, whose deaths are counted."""

    def __init__(self) -> None:
        self.process = ReaderProcess(time_limit_s=SLOWEST_S, memory_bytes=2**29)
        self.pids: set[int | None] = set()

    def slide(self, path: Path) -> None:
        is_slide(path)
        with self.process.open(path) as slide:
            corners(slide)

    def image(self, path: Path) -> None:
        is_slide(path)
        try:
            read_image(path)
        finally:
            with self.process.open(path) as slide:  # by the process, too, with the same end
                corners(slide)

    def outlines(self, path: Path) -> None:
        canvas = Canvas("x", Path("x.png"), 120, 160)
        found = read_geojson(path, Wanted({"x": canvas}))
        for each in found.canvases:
            found.load(each)


def corners(slide: Slide) -> None:
    for number, level in enumerate(slide.levels):
        width, height = min(level.width, 256), min(level.height, 256)
        slide.read_region(number, 0, 0, width, height)
        slide.read_region(number, level.width - width, level.height - height, width, height)


FAMILIES: dict[str, tuple[Callable[[Path], list[Files]], str]] = {
    "tiff": (tiffs, "slide"),
    "svs": (scanners, "slide"),
    "zarr": (zarrs, "slide"),
    "png": (pngs, "image"),
    "geojson": (geojsons, "outlines"),
}


def survive(folder: Path, family: str, n: int, seed: int) -> dict[str, int]:
    """Read `n` mutated files; what became of them."""
    make, way = FAMILIES[family]
    sources = make(folder)
    readers = Readers()
    rng = np.random.default_rng([seed, *family.encode()])
    counts = {"read": 0, "refused": 0, "died": 0, "slow": 0}
    with readers.process as process:
        for source in sources:  # unharmed
            read_one(folder / "whole", source, getattr(readers, way))
        for number in range(n):
            files = mutated(rng, sources[number % len(sources)])
            before, started = process.pid, time.monotonic()
            try:
                read_one(folder / f"{number}", files, getattr(readers, way))
                counts["read"] += 1
            except InputError as error:
                counts["refused"] += 1
                for problem in error.problems:
                    assert f"{folder / str(number)}" in problem.where, problem
                    assert problem.reason
                    assert "\n" not in str(problem)
            counts["died"] += process.pid != before
            counts["slow"] += time.monotonic() - started > SLOWEST_S / 2
    return counts


def read_one(folder: Path, files: Files, read: Callable[[Path], None]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    read(folder / next(iter(files)) if len(files) == 1 else folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_some_mutated_files(tmp_path: Path, family: str) -> None:
    counts = survive(tmp_path, family, 80, seed=1)
    assert counts["read"] + counts["refused"] == 80
    assert counts["refused"] > 8
    assert counts["slow"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_ten_thousand_mutated_files(tmp_path: Path, family: str) -> None:
    counts = survive(tmp_path, family, 2000, seed=2)
    print(family, counts)
    assert counts["read"] + counts["refused"] == 2000
    assert counts["refused"] > 200
    assert counts["slow"] < 5
