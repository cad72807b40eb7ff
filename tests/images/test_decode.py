"""Every kind of pixel becomes 8-bit RGB, by the stated rules."""

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from PIL import ImageOps

from frugalseg.errors import InputError
from frugalseg.images import read_header, read_image

from .builders import HEIGHT, WIDTH, colours, save


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tif", "x.TIFF", "x.PNG"])
def test_lossless_rgb_is_returned_as_it_is(tmp_path, name):
    image = colours()
    np.testing.assert_array_equal(read_image(save(tmp_path / name, image)), image)


def test_result_is_an_own_writable_contiguous_array(tmp_path):
    image = read_image(save(tmp_path / "x.png", colours()))
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert image.flags.writeable


def test_jpeg_is_close(tmp_path):
    image = np.full((HEIGHT, WIDTH, 3), (200, 100, 150), np.uint8)
    read = read_image(save(tmp_path / "x.jpg", image, quality=95))
    assert np.abs(read.astype(int) - image).max() <= 3


def test_content_decides_not_the_suffix(tmp_path):
    save(tmp_path / "x.png", colours()).rename(tmp_path / "x.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "x.jpg"), colours())


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_grey_becomes_three_equal_channels(tmp_path, suffix):
    grey = colours()[..., 0]
    np.testing.assert_array_equal(read_image(save(tmp_path / f"x{suffix}", grey)), np.dstack([grey] * 3))


def test_one_bit_is_black_and_white(tmp_path):
    bits = colours()[..., 0] > 127
    read = read_image(save(tmp_path / "x.png", bits))
    np.testing.assert_array_equal(read[..., 1], np.where(bits, 255, 0))


def test_palette_shows_its_colours(tmp_path):
    image = Pillow.fromarray((colours()[..., 0] % 3).astype(np.uint8), mode="P")
    image.putpalette([10, 20, 30, 200, 100, 50, 0, 255, 0])
    image.save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), np.asarray(image.convert("RGB")))


def test_palette_of_a_tiff_shows_its_colours(tmp_path):
    indices = (colours()[..., 0] % 4).astype(np.uint8)
    table = np.zeros((3, 256), np.uint16)
    table[:, 1], table[:, 2], table[:, 3] = (65535, 0, 0), (0, 257 * 100, 0), (257, 257 * 2, 257 * 3)
    tifffile.imwrite(tmp_path / "x.tif", indices, colormap=table, photometric="palette")
    expected = np.array([(0, 0, 0), (255, 0, 0), (0, 100, 0), (1, 2, 3)], np.uint8)[indices]
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), expected)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_transparency_lies_over_white(tmp_path, suffix):
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[0, 0] = (10, 20, 30, 255)
    pixels[0, 1] = (10, 20, 30, 0)
    pixels[0, 2] = (0, 100, 200, 128)
    read = read_image(save(tmp_path / f"x{suffix}", pixels))
    assert read[0, 0].tolist() == [10, 20, 30]
    assert read[0, 1].tolist() == [255, 255, 255]
    assert read[0, 2].tolist() == [127, 177, 227]  # 255 - (255 - v) * 128 / 255, rounded


def test_grey_with_transparency_lies_over_white(tmp_path):
    image = Pillow.merge("LA", [Pillow.new("L", (3, 2), 40), Pillow.new("L", (3, 2), 0)])
    image.save(tmp_path / "x.png")
    assert read_image(tmp_path / "x.png").tolist() == np.full((2, 3, 3), 255).tolist()


def test_transparent_palette_entry_is_white(tmp_path):
    image = Pillow.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "x.png", transparency=0)
    assert read_image(tmp_path / "x.png").tolist() == [[[255, 255, 255], [40, 50, 60]]]


@pytest.mark.parametrize(("top", "shift"), [(255, 0), (256, 4), (4095, 4), (4096, 8), (65535, 8)])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_is_shifted_by_its_range(tmp_path, top, shift, suffix):
    grey = np.linspace(0, top, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)
    path = save(tmp_path / f"x{suffix}", grey)
    np.testing.assert_array_equal(read_image(path)[..., 2], grey >> shift)
    assert read_header(path).bits == 16


@pytest.mark.parametrize(("top", "shift"), [(200, 0), (1000, 2), (4000, 4), (16383, 6), (65535, 8)])
def test_16_bit_colour_png_may_have_10_or_14_bits_too(tmp_path, top, shift):
    image = np.random.default_rng(1).integers(0, top, (HEIGHT, WIDTH, 3)).astype(np.uint16)
    image[0, 0] = top
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(image))
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), image >> shift)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_fourth_sample_of_a_tiff_counts_by_what_it_is(tmp_path, dtype):
    """Unspecified: no colour; associated: colours that are multiplied by it already; unassociated: as in PNG."""
    white = np.iinfo(dtype).max
    colours = np.full((40, 50, 3), white // 4, dtype)
    colours[0, 0] = white // 2
    half = np.full((40, 50, 1), white // 2, dtype)
    means = {}
    for kind in ("unspecified", "assocalpha", "unassalpha"):
        tifffile.imwrite(tmp_path / f"{kind}.tif", np.dstack([colours, half]), photometric="rgb", extrasamples=[kind])
        means[kind] = float(read_image(tmp_path / f"{kind}.tif").mean())
    assert means == pytest.approx({"unspecified": 63, "assocalpha": 191, "unassalpha": 159}, abs=1.5)
    tifffile.imwrite(tmp_path / "empty.tif", np.dstack([colours, 0 * half]), photometric="rgb", extrasamples=[2])
    assert read_image(tmp_path / "empty.tif").max() == 127, "transparent everywhere: it means something else"


def test_16_bit_rgba_png_lies_over_white(tmp_path):
    image = np.full((2, 2, 4), 65535, np.uint16)
    image[..., :3] = 256 * 30
    image[0, 0, 3] = 0
    image[1, 1, :3] = 65535
    (tmp_path / "x.png").write_bytes(imagecodecs.png_encode(image))
    assert read_image(tmp_path / "x.png")[:, :, 0].tolist() == [[255, 30], [30, 255]]


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 255), (255.0, 255)])
def test_float_tiff_in_either_range(tmp_path, scale, expected):
    grey = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    tifffile.imwrite(tmp_path / "x.tif", grey * np.float32(scale))
    read = read_image(tmp_path / "x.tif")[..., 0]
    np.testing.assert_array_equal(read.ravel(), np.arange(256))
    assert read.max() == expected


@pytest.mark.parametrize(
    ("values", "reason"),
    [(np.float32([[0, 300]]), "0 to 300"), (np.float32([[-1, 0]]), "-1 to 0"), (np.float32([[np.nan, 0]]), "NaN")],
)
def test_floats_that_are_no_colours_are_refused(tmp_path, values, reason):
    tifffile.imwrite(tmp_path / "x.tif", values)
    with pytest.raises(InputError, match=reason):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("layout", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "jpeg2000", "zstd"])
def test_tiff_compressions_and_plane_orders(tmp_path, layout, compression):
    image = np.random.default_rng(2).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    stored = image if layout == "contig" else np.moveaxis(image, -1, 0)
    options = {"compressionargs": {"reversible": True, "level": 0}} if compression == "jpeg2000" else {}
    tifffile.imwrite(
        tmp_path / "x.tif", stored, photometric="rgb", planarconfig=layout, compression=compression, **options
    )
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), image)


def test_tiled_bigtiff_and_pyramid_give_the_full_image(tmp_path):
    image = np.random.default_rng(3).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "x.tif", bigtiff=True) as writer:
        writer.write(image, tile=(32, 32), photometric="rgb", subifds=1)
        writer.write(image[::2, ::2], tile=(32, 32), photometric="rgb", subfiletype=1)
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), image)


def test_ome_and_imagej_channels_become_rgb(tmp_path):
    planes = np.moveaxis(colours(), -1, 0)
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, metadata={"axes": "CYX"}, photometric="minisblack")
    tifffile.imwrite(tmp_path / "b.tif", planes, imagej=True, metadata={"axes": "CYX"})
    for name in ("a.ome.tif", "b.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name), colours())


def test_white_is_zero_is_inverted_as_pillow_does(tmp_path):
    grey = colours()[..., 0]
    tifffile.imwrite(tmp_path / "x.tif", grey, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif")[..., 0], 255 - grey)
    with Pillow.open(tmp_path / "x.tif") as image:
        np.testing.assert_array_equal(np.asarray(image), 255 - grey)


@pytest.mark.parametrize("mode", ["LAB", "YCbCr"])
def test_tiffs_of_other_colours_are_refused(tmp_path, mode):
    Pillow.fromarray(colours()).convert(mode).save(tmp_path / "x.tif")
    with pytest.raises(InputError, match=r"TIFF.*, save it as RGB"):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize("white_is_zero", [False, True])
def test_samples_of_four_bits_are_stretched(tmp_path, white_is_zero):
    values = np.arange(16, dtype=np.uint8).reshape(2, 8)
    stored = 15 - values if white_is_zero else values
    packed = (stored[:, ::2] << 4 | stored[:, 1::2]).tobytes()
    tags = [(256, 8), (257, 2), (258, 4), (259, 1), (262, 0 if white_is_zero else 1), (273, 130), (278, 2), (279, 8)]
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    (tmp_path / "x.tif").write_bytes(
        b"II*\0" + struct.pack("<IH", 8, len(tags)) + fields + bytes(4) + bytes(20) + packed
    )
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif")[..., 0], values * 17)


def test_transparency_of_16_bit_grey_does_not_cut_values_off(tmp_path):
    grey = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Pillow.fromarray(grey).save(tmp_path / "plain.png")
    content = (tmp_path / "plain.png").read_bytes()
    chunk = b"tRNS" + b"\xff\xff"
    place = content.index(b"IDAT") - 4
    with_chunk = content[:place] + struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[place:]
    (tmp_path / "x.png").write_bytes(with_chunk)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), read_image(tmp_path / "plain.png"))


def test_cmyk_jpeg_is_converted(tmp_path):
    Pillow.fromarray(np.full((8, 8, 3), (200, 30, 60), np.uint8)).convert("CMYK").save(tmp_path / "x.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "x.jpg")[4, 4].astype(int) - (200, 30, 60)).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_exif_orientation_as_pillow_turns_it(tmp_path, orientation, suffix):
    image = Pillow.fromarray(np.kron(colours()[:4, :6], np.ones((8, 8, 1))).astype(np.uint8))
    exif = Pillow.Exif()
    exif[274] = orientation
    path = tmp_path / f"x{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, np.asarray(image), photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
        expected = ImageOps.exif_transpose(_with_exif(image, exif))
    else:
        image.save(path, exif=exif, quality=95) if suffix == ".jpg" else image.save(path, exif=exif)
        with Pillow.open(path) as stored:
            expected = ImageOps.exif_transpose(stored)
    read = read_image(path)
    np.testing.assert_array_equal(read, np.asarray(expected))
    header = read_header(path)
    assert (header.height, header.width) == read.shape[:2]


def _with_exif(image, exif):
    content = io.BytesIO()
    image.save(content, format="PNG", exif=exif)
    return Pillow.open(io.BytesIO(content.getvalue()))


@pytest.mark.parametrize(
    ("shape", "axes", "reason"),
    [((5, 12, 16), "ZYX", "stack"), ((7, 12, 16), "CYX", "7 channels"), ((2, 12, 16), "CYX", "2 channels")],
)
def test_stacks_and_odd_channels_are_refused(tmp_path, shape, axes, reason):
    tifffile.imwrite(tmp_path / "x.tif", np.zeros(shape, np.uint8), imagej=True, metadata={"axes": axes})
    with pytest.raises(InputError, match=reason):
        read_image(tmp_path / "x.tif")


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [("centimeter", 20000, 0.5), ("inch", 50800, 0.5), ("inch", 72, None), ("inch", 300, None), ("none", 2, None)],
)
def test_pixel_size_of_tiff_resolution(tmp_path, unit, value, expected):
    options = {"resolution": (value, value), "resolutionunit": unit}
    tifffile.imwrite(tmp_path / "x.tif", colours(), photometric="rgb", **options)
    assert read_header(tmp_path / "x.tif").pixel_size_um == expected


def test_pixel_size_of_imagej_ome_aperio_and_png(tmp_path):
    grey = colours()[..., 0]
    for unit in ("micrometer", "um"):
        tifffile.imwrite(tmp_path / "j.tif", grey, imagej=True, resolution=(4, 4), metadata={"unit": unit})
        assert read_header(tmp_path / "j.tif").pixel_size_um == 0.25
    metadata = {"axes": "YX", "PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.25}
    tifffile.imwrite(tmp_path / "o.ome.tif", grey, metadata=metadata)
    tifffile.imwrite(tmp_path / "a.tif", grey, description="Aperio Image Library|AppMag = 40|MPP = 0.25", metadata=None)
    save(tmp_path / "p.png", grey, dpi=(101600, 101600))
    for name in ("j.tif", "o.ome.tif", "a.tif", "p.png"):
        assert read_header(tmp_path / name).pixel_size_um == pytest.approx(0.25, rel=1e-4), name


def test_pixels_that_are_not_square_have_no_size(tmp_path):
    options = {"resolution": (20000, 10000), "resolutionunit": "centimeter"}
    tifffile.imwrite(tmp_path / "x.tif", colours(), photometric="rgb", **options)
    assert read_header(tmp_path / "x.tif").pixel_size_um is None


def test_16_bit_transparency_does_not_darken_12_bit_colours(tmp_path):
    colours = np.full((4, 5, 3), 2000, np.uint16)
    opaque = np.full((4, 5, 1), 65535, np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", np.concatenate([colours, opaque], axis=2), photometric="rgb")
    assert (read_image(tmp_path / "x.tif") == 2000 >> 4).all()


def test_floats_a_little_above_one_are_not_black(tmp_path):
    values = np.full((4, 5), 0.6, np.float32)
    values[0, 0] = 1.01
    tifffile.imwrite(tmp_path / "x.tif", values)
    image = read_image(tmp_path / "x.tif")
    assert (image[0, 0, 0], image[1, 1, 0]) == (255, 153)


@pytest.mark.parametrize("how", [{"imagej": True}, {"ome": True, "photometric": "minisblack"}])
def test_four_grey_channels_are_no_colours_with_transparency(tmp_path, how):
    tifffile.imwrite(tmp_path / "x.tif", np.full((4, 20, 30), 90, np.uint8), metadata={"axes": "CYX"}, **how)
    with pytest.raises(InputError, match="has 4 channels of grey values, only grey, RGB and RGBA can be read"):
        read_image(tmp_path / "x.tif")
