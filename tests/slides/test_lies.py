"""Files whose metadata cannot be: each is refused in one line that names it, or read as it is and told why."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile

from frugalseg.slides import open_slide
from frugalseg.synthetic import write_synthetic_slide

from .builders import edit_json, picture, read_all, refusal, retag, whole, write_zarr

PIXELS = picture(128, 192)


def tiff(path: Path, *levels: np.ndarray[Any, Any], reduced: bool = True, **options: Any) -> Path:
    """A pyramid of tiled pages, uncompressed unless said."""
    options = {"tile": (64, 64), "photometric": "rgb", "metadata": None} | options
    with tifffile.TiffWriter(path) as writer:
        writer.write(levels[0], **options)
        for level in levels[1:]:
            writer.write(level, subfiletype=1 if reduced else 0, **options)
    return path


def sub_ifds(path: Path, *levels: np.ndarray[Any, Any]) -> Path:
    with tifffile.TiffWriter(path) as writer:
        writer.write(levels[0], tile=(64, 64), photometric="rgb", subifds=len(levels) - 1)
        for level in levels[1:]:
            writer.write(level, tile=(64, 64), photometric="rgb", subfiletype=1)
    return path


@pytest.mark.parametrize(
    ("mpp", "says"),
    [
        ("0", "0 x 0 µm"),
        ("-0.25", "-0.25 x -0.25 µm"),
        ("250", "which no microscope gives"),
    ],
)
def test_aperio_mpp(tmp_path: Path, mpp: str, says: str) -> None:
    path = tmp_path / "x.svs"
    write_synthetic_slide(path, 300, 200, seed=0, tissue=1)
    content = path.read_bytes()
    assert content.count(b"MPP = 0.25") == 2
    path.write_bytes(content.replace(b"MPP = 0.25", f"MPP ={mpp:>5}".encode()))
    assert says in refusal(path)


def test_an_mpp_that_is_no_number_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.svs"
    write_synthetic_slide(path, 300, 200, seed=0, tissue=1)
    path.write_bytes(path.read_bytes().replace(b"MPP = 0.25", b"MPP = what"))
    with open_slide(path, here=True) as slide:
        assert slide.pixel_size_um is None


@pytest.mark.parametrize(
    ("across", "down", "unit", "size"),
    [
        (40000, 40000, "CENTIMETER", 0.25),
        (40000, 40400, "CENTIMETER", 0.248762),
        (101600, 101600, "INCH", 0.25),
        (72, 72, "INCH", None),  # a printer's
        (40000, 40000, "NONE", None),
        (0, 0, "CENTIMETER", None),
    ],
)
def test_tiff_resolution(tmp_path: Path, across: float, down: float, unit: str, size: float | None) -> None:
    path = tiff(tmp_path / "x.tif", PIXELS, resolution=(across, down), resolutionunit=unit)
    with open_slide(path, here=True) as slide:
        assert slide.pixel_size_um == size


@pytest.mark.parametrize(("across", "down"), [(40000, 20000), (40000, 41000), (40000, 72)])
def test_tiff_pixels_that_are_not_square(tmp_path: Path, across: float, down: float) -> None:
    path = tiff(tmp_path / "x.tif", PIXELS, resolution=(across, down), resolutionunit="CENTIMETER")
    assert ("not square" if down > 100 else "no microscope") in refusal(path)


def ome(path: Path, attributes: str) -> Path:
    text = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" '
        f'DimensionOrder="XYCZT" Type="uint8" SizeX="192" SizeY="128" SizeC="3" SizeZ="1" SizeT="1" {attributes}>'
        '<Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1"/></Pixels></Image></OME>'
    )
    return tiff(path, PIXELS, description=text.encode())


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ('PhysicalSizeX="0.25" PhysicalSizeY="0.25"', 0.25),
        ('PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="0.00025" PhysicalSizeYUnit="mm"', 0.25),
        ('PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1" PhysicalSizeYUnit="pixel"', None),
        ('PhysicalSizeX="0.25"', None),
        ("", None),
    ],
)
def test_ome_units(tmp_path: Path, attributes: str, size: float | None) -> None:
    with open_slide(ome(tmp_path / "x.ome.tif", attributes), here=True) as slide:
        assert slide.pixel_size_um == size
        assert np.array_equal(whole(slide), PIXELS)


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ('PhysicalSizeX="0.25" PhysicalSizeY="0.5"', "not square"),
        ('PhysicalSizeX="0.25" PhysicalSizeY="-0.25"', "no microscope"),
        ('PhysicalSizeX="0.25" PhysicalSizeY="0"', "no microscope"),
        ('PhysicalSizeX="0.25" PhysicalSizeXUnit="mm" PhysicalSizeY="0.25"', "no microscope"),
        ('PhysicalSizeX="wide" PhysicalSizeY="wide"', "'wide'"),
    ],
)
def test_ome_lies(tmp_path: Path, attributes: str, says: str) -> None:
    assert says in refusal(ome(tmp_path / "x.ome.tif", attributes))


def test_ome_entities_and_other_files(tmp_path: Path) -> None:
    path = ome(tmp_path / "x.ome.tif", "")
    content = path.read_bytes()
    entity = content.replace(b'<Image ID="Image:0">', b'<!ENTITY a "bb" >   ')
    path.write_bytes(entity)
    assert "OME-XML" in refusal(path)
    other = tiff(tmp_path / "other.tif", PIXELS[::-1])
    named = content.replace(
        b'<TiffData IFD="0" PlaneCount="1"/>', b'<TiffData><UUID FileName="other.tif">urn:uuid:0</UUID></TiffData>'
    )
    path = tmp_path / "named.ome.tif"
    tiff(path, PIXELS, description=named[named.index(b"<OME") : named.index(b"</OME>") + 6])
    with open_slide(path, here=True) as slide:  # of the file itself, whatever it says of others
        assert np.array_equal(whole(slide), PIXELS)
    assert other.exists()


def test_levels_that_are_none(tmp_path: Path) -> None:
    half = np.ascontiguousarray(PIXELS[::2, ::2])
    label = picture(90, 80)
    path = tiff(tmp_path / "label.tif", PIXELS, half, label)  # a label, of another shape
    with open_slide(path, here=True) as slide:
        assert [(level.width, level.height) for level in slide.levels] == [(192, 128), (96, 64)]
    path = tiff(tmp_path / "planes.tif", PIXELS, half, reduced=False)
    with open_slide(path, here=True) as slide:
        assert len(slide.levels) == 1
    assert "larger than the image" in refusal(tiff(tmp_path / "larger.tif", half, PIXELS))
    assert "another shape than level 0" in refusal(sub_ifds(tmp_path / "shape.tif", PIXELS, label))
    assert "level 1 (192 x 128) is larger" in refusal(sub_ifds(tmp_path / "sub.tif", half, PIXELS))


def test_levels_out_of_order_are_sorted(tmp_path: Path) -> None:
    path = tiff(tmp_path / "x.tif", PIXELS, PIXELS[::4, ::4].copy(), PIXELS[::2, ::2].copy())
    with open_slide(path, here=True) as slide:
        assert [level.width for level in slide.levels] == [192, 96, 48]
        assert np.array_equal(whole(slide, 1), PIXELS[::2, ::2])


def test_macro_and_label_of_aperio_are_no_levels(tmp_path: Path) -> None:
    path = tmp_path / "x.svs"
    write_synthetic_slide(path, 2400, 1600, seed=0, tissue=1)
    with tifffile.TiffWriter(path, append=True) as writer:
        for name, kind in (("label", 1), ("macro", 9)):
            writer.write(
                picture(100, 90),
                photometric="rgb",
                subfiletype=kind,
                description=f"Aperio\r\n{name} 90x100",
                metadata=None,
            )
    with open_slide(path, here=True) as slide:
        assert [(level.width, level.height) for level in slide.levels] == [(2400, 1600), (600, 400)]


def test_tiles_that_do_not_cover_the_image(tmp_path: Path) -> None:
    path = tiff(tmp_path / "x.tif", PIXELS, compression="zlib")
    retag(path, 257, 1280)
    assert "60 tiles or strips are needed, it tells of 6" in refusal(path)


def test_sizes_beyond_reason(tmp_path: Path) -> None:
    for width in (2**20 + 1, 2**31 - 1):
        path = tiff(tmp_path / "x.tif", PIXELS, compression="zlib")
        retag(path, 256, width)
        assert "is too large" in refusal(path)
    path = tiff(tmp_path / "tile.tif", PIXELS, compression="zlib")
    for code in (322, 323):
        retag(path, code, 16384)
    assert "larger than 256 MiB when decoded" in refusal(path)
    for code, value in ((256, 0), (322, 0), (323, 0)):
        path = tiff(tmp_path / "zero.tif", PIXELS)
        retag(path, code, value)
        refusal(path)


def test_tiles_that_promise_more_than_they_hold(tmp_path: Path) -> None:
    path = tiff(tmp_path / "deflate.tif", PIXELS[:64, :64], compression="zlib")
    for code, side in ((256, 8192), (257, 7808), (322, 8192), (323, 7808)):
        retag(path, code, side)
    assert "cannot hold a tile" in refusal(path)
    large = imagecodecs.jpeg8_encode(np.zeros((4096, 4096, 3), np.uint8))
    path = tmp_path / "jpeg.tif"
    with tifffile.TiffWriter(path) as writer:
        options: dict[str, Any] = {"photometric": "ycbcr", "compression": "jpeg"}
        writer.write(iter([large]), shape=(64, 64, 3), dtype="uint8", tile=(64, 64), **options)
    assert "a tile of 64 x 64 pixels says it has 4096 x 4096" in refusal(path)
    stream = imagecodecs.jpeg2k_encode(np.zeros((2048, 2048, 3), np.uint8))
    path = tmp_path / "jpeg2000.tif"
    with tifffile.TiffWriter(path) as writer:
        options = {"photometric": "rgb", "compression": 34712}
        writer.write(iter([stream]), shape=(64, 64, 3), dtype="uint8", tile=(64, 64), **options)
    assert "a tile of 64 x 64 pixels says it has 2048 x 2048" in refusal(path)


def test_cut_off_files(tmp_path: Path, synthetic_slides: dict[str, Path]) -> None:
    for kind in ("tiff", "ome-tiff"):
        content = synthetic_slides[kind].read_bytes()
        path = tmp_path / f"{kind}.tif"
        path.write_bytes(content[:-1])
        assert "is truncated" in refusal(path)
    path = tmp_path / "x.svs"
    path.write_bytes(synthetic_slides["aperio"].read_bytes()[:-100_000])
    refusal(path)


@pytest.mark.parametrize(
    ("pixels", "options", "says"),
    [
        (PIXELS.astype(np.float32), {}, "only 8 and 16 can be read"),
        (PIXELS.astype(np.uint32), {}, "only 8 and 16 can be read"),
        (PIXELS.astype(np.int16), {}, "only 8 and 16 can be read"),
        (PIXELS, {"compression": "webp"}, "TIFF compression 5000"),
        (PIXELS, {"photometric": "cielab"}, "TIFF photometric 8"),
        (np.dstack([PIXELS, PIXELS[..., :1]]), {"photometric": "separated"}, "TIFF photometric 5"),
        (np.dstack([PIXELS, PIXELS]), {"photometric": "minisblack", "planarconfig": "contig"}, "6 channels"),
        (PIXELS, {"extratags": [(274, 3, 1, 6, True)]}, "turned"),
    ],
)
def test_pixels_that_are_no_colours(tmp_path: Path, pixels: Any, options: dict[str, Any], says: str) -> None:
    assert says in refusal(tiff(tmp_path / "x.tif", pixels, **options))


# ---------------------------------------------------------------------------------------------- OME-Zarr

RED_FIRST = np.ascontiguousarray(np.moveaxis(PIXELS, -1, 0))
V3 = ("attributes", "ome", "multiscales", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_zarr(tmp_path / "x.zarr", [RED_FIRST, RED_FIRST[:, ::2, ::2]])


@pytest.mark.parametrize(
    ("unit", "step", "size"),
    [("micrometer", 0.25, 0.25), ("nanometer", 250.0, 0.25), ("millimeter", 0.00025, 0.25), (None, 1.0, None)],
)
def test_zarr_units(tmp_path: Path, unit: str | None, step: float, size: float | None) -> None:
    path = write_zarr(tmp_path / "u.zarr", [RED_FIRST], unit=unit, scale=[1, step, step])
    with open_slide(path, here=True) as slide:
        assert slide.pixel_size_um == size


@pytest.mark.parametrize("scale", [[1, 0.25, 0.5], [1, 0, 0], [1, -0.25, -0.25], [1, 300, 300], [1, 0.25]])
def test_zarr_scales(folder: Path, scale: list[float]) -> None:
    edit_json(folder / "zarr.json", *V3, "datasets", 0, "coordinateTransformations", 0, "scale", value=scale)
    assert "scale" in refusal(folder)


@pytest.mark.parametrize("name", ["../x.zarr/0", "/etc", "", ".", "a:b", "..\\0", 7, None])
def test_zarr_levels_outside(folder: Path, name: Any) -> None:
    edit_json(folder / "zarr.json", *V3, "datasets", 0, "path", value=name)
    refusal(folder)


@pytest.mark.parametrize(
    ("keys", "value", "says"),
    [
        (("codecs", 0, "name"), "numcodecs.pickle", "numcodecs.pickle"),
        (("shape",), [3, 128, 2**21], "too large"),
        (("shape",), [3, 0, 192], "do not fit"),
        (("shape",), [3, 128], "do not fit"),
        (("shape",), [4, 128, 192], "channels"),
        (("chunk_grid", "configuration", "chunk_shape"), [3, 2**14, 2**14], "larger than 256 MiB"),
        (("chunk_grid", "name"), "rectangular", "a grid that is not read"),
        (("data_type",), "float32", "uint8 and uint16"),
        (("data_type",), ["uint8"], "make no sense"),
        (("codecs",), 7, "make no sense"),
    ],
)
def test_zarr_arrays(folder: Path, keys: tuple[str | int, ...], value: Any, says: str) -> None:
    edit_json(folder / "0" / "zarr.json", *keys, value=value)
    assert says in refusal(folder)


def test_zarr_levels(folder: Path) -> None:
    before = json.loads((folder / "zarr.json").read_text())["attributes"]["ome"]["multiscales"][0]["datasets"]
    edit_json(folder / "zarr.json", *V3, "datasets", value=before[::-1])
    assert "larger than level 0" in refusal(folder)
    edit_json(folder / "zarr.json", *V3, "datasets", value=[])
    assert "has 0 levels" in refusal(folder)
    edit_json(folder / "zarr.json", *V3, "datasets", value=before * 40)
    assert "has 80 levels" in refusal(folder)
    edit_json(folder / "zarr.json", *V3, value={"axes": ["q", "y", "x"], "datasets": before})
    assert "has axes 'qyx'" in refusal(folder)


def test_zarr_v2_never_unpickles(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "x.zarr", [RED_FIRST], version="0.4")
    assert len(read_all(path)) == 1
    document = json.loads((path / "0" / ".zarray").read_text())
    for change in (
        {"dtype": "|O", "filters": [{"id": "pickle"}]},
        {"filters": [{"id": "pickle"}]},
        {"compressor": {"id": "pickle"}},
        {"dtype": [["a", "|u1"]]},
    ):
        (path / "0" / ".zarray").write_text(json.dumps(document | change))
        refusal(path)


def test_other_decoders_are_not_reached(tmp_path: Path) -> None:
    """Compressions that this reader does not name are not handed to a decoder."""
    path = tiff(tmp_path / "x.tif", PIXELS, compression="zlib")
    for compression in (34933, 50002, 65000, 6, 2):
        retag(path, 259, compression)
        assert "compressed by a method that is not read" in refusal(path)


def test_lengths_of_text_that_never_ends(tmp_path: Path) -> None:
    """A tag that claims two billion characters."""
    path = tiff(tmp_path / "x.tif", PIXELS, description="hello there, this is a slide")
    content = bytearray(path.read_bytes())
    at = content.index(struct.pack("<HH", 270, 2))
    content[at + 4 : at + 8] = struct.pack("<I", 2**31 - 1)
    path.write_bytes(content)
    with open_slide(path, here=True) as slide:
        assert np.array_equal(whole(slide), PIXELS)
