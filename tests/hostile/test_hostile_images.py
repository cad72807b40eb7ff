"""Files made to break a reader: each gives one line with file and reason, exit code 2, and takes next to no memory."""

import io
import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from frugalseg.cli import main
from frugalseg.errors import InputError
from frugalseg.images import load_sample, open_dataset, read_image, read_label_map

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)


def encoded(kind, pixels=NOISE, **options):
    stream = io.BytesIO()
    Pillow.fromarray(pixels).save(stream, format=kind, **options)
    return stream.getvalue()


def tiff(pixels=NOISE, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, **options)
    return stream.getvalue()


def png(width, height, *, depth=8, colour=2, payload=b""):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", payload) + chunk(b"IEND", b"")


def jpeg_claiming(width, height):
    content = bytearray(encoded("JPEG"))
    at = content.index(b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def bmp_claiming(width, height):
    content = bytearray(encoded("BMP"))
    content[18:26] = struct.pack("<ii", width, height)
    return bytes(content)


def tiff_claiming(width, height, **options):
    content = bytearray(tiff(photometric="rgb", **options))
    for code, value in ((256, width), (257, height)):
        at = content.index(struct.pack("<HH", code, 4 if struct.pack("<HHI", code, 4, 1) in content else 3))
        content[at : at + 12] = struct.pack("<HHII", code, 4, 1, value)
    return bytes(content)


SMALL = {"png": encoded("PNG"), "jpg": encoded("JPEG"), "bmp": encoded("BMP"), "tif": tiff(photometric="rgb")}
ZTIFF = tiff(photometric="rgb", compression="zlib")

HOSTILE = {
    "zero bytes.png": (b"", "is empty (0 bytes)"),
    "text.png": (b"I am no image at all", "is not a PNG, JPEG, BMP or TIFF file"),
    "gif.png": (encoded("GIF", NOISE[..., 0]), "is not a PNG"),
    "magic only.png": (SMALL["png"][:8], "is damaged"),
    "magic only.tif": (SMALL["tif"][:8], "is damaged"),
    "half.png": (SMALL["png"][: len(SMALL["png"]) // 2], "is truncated"),
    "half.jpg": (SMALL["jpg"][: len(SMALL["jpg"]) // 2], "is truncated"),
    "half.bmp": (SMALL["bmp"][: len(SMALL["bmp"]) // 2], "is truncated"),
    "last byte.png": (SMALL["png"][:-1], "is truncated"),
    "last byte.bmp": (SMALL["bmp"][:-1], "is truncated"),
    "last byte.jpg": (SMALL["jpg"][:-1], "is truncated"),
    "half.tif": (SMALL["tif"][: len(SMALL["tif"]) // 2], "is truncated"),
    "last byte.tif": (SMALL["tif"][:-1], "is truncated"),
    "900 megapixels.png": (png(30000, 30000), "is too large: 30000 x 30000 = 900 megapixels"),
    "900 megapixels.jpg": (jpeg_claiming(30000, 30000), "is too large: 30000 x 30000 = 900 megapixels"),
    "900 megapixels.bmp": (bmp_claiming(30000, 30000), "is too large: 30000 x 30000 = 900 megapixels"),
    "900 megapixels.tif": (tiff_claiming(30000, 30000), "is too large: 30000 x 30000 = 900 megapixels"),
    "2 billion wide.png": (png(2**31 - 1, 2**31 - 1), "is too large"),
    "400 megapixels, nothing in it.png": (png(20000, 20000, payload=zlib.compress(b"")), "cannot hold"),
    "400 megapixels, nothing in it.jpg": (jpeg_claiming(20000, 20000), "cannot hold"),
    "400 megapixels, nothing in it.bmp": (bmp_claiming(20000, 20000), "is truncated"),
    "400 megapixels, nothing in it.tif": (tiff_claiming(20000, 20000), "is truncated"),
    "400 megapixels, nothing in it, deflated.tif": (tiff_claiming(20000, 20000, compression="zlib"), "cannot hold"),
    "no pixels.png": (png(0, 10), "is damaged: its header makes no sense"),
    "16 bits, 500 megapixels.png": (png(25000, 20000, depth=16, colour=6), "cannot hold"),
}


def check_lines(root, capsys):
    code = main(["data", "check", str(root)])
    captured = capsys.readouterr()
    assert captured.out == ""
    return code, captured.err.splitlines()


@pytest.mark.parametrize("name", HOSTILE)
def test_one_line_and_exit_2(tmp_path, capsys, name):
    content, reason = HOSTILE[name]
    (tmp_path / name).write_bytes(content)
    tracemalloc.start()
    code, lines = check_lines(tmp_path, capsys)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert code == 2
    assert len(lines) == 1
    assert name in lines[0]
    assert reason in lines[0]
    assert peak < 50e6


def test_all_are_listed_at_once(tmp_path, capsys):
    for number, (name, (content, _)) in enumerate(HOSTILE.items()):
        (tmp_path / f"{number} {name}").write_bytes(content)
    code, lines = check_lines(tmp_path, capsys)
    assert code == 2
    assert len(lines) == len(HOSTILE)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_masks_too(tmp_path, name):
    content, _ = HOSTILE[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_label_map(path)
    assert "\n" not in str(caught.value)


def test_tiff_with_a_giant_tile(tmp_path, capsys):
    content = bytearray(tiff(NOISE[..., 0], tile=(16, 16), photometric="minisblack"))
    for code in (322, 323):  # TileWidth, TileLength
        at = max(content.find(struct.pack("<HHI", code, kind, 1)) for kind in (3, 4))
        content[at : at + 12] = struct.pack("<HHII", code, 4, 1, 2**20)
    (tmp_path / "x.tif").write_bytes(content)
    code, lines = check_lines(tmp_path, capsys)
    assert code == 2
    assert len(lines) == 1
    assert "tiles of (1048576, 1048576) samples" in lines[0]


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (np.ones((40, 50), np.float32), "floating-point labels"),
        (np.full((40, 50), -3, np.int16), "negative labels (lowest -3)"),
        (np.ones((41, 50), np.uint8), "is 50 x 41, its image x.png is 50 x 40"),
        (np.ones((4, 40, 50), np.uint8), "stack"),
    ],
)
def test_masks_that_are_none(tmp_path, capsys, stored, reason):
    (tmp_path / "x.png").write_bytes(SMALL["png"])
    tifffile.imwrite(tmp_path / "x_masks.tif", stored, photometric="minisblack")
    code, lines = check_lines(tmp_path, capsys)
    assert code == 2
    assert len(lines) == 1
    assert "x_masks.tif" in lines[0]
    assert reason in lines[0]


def _refusal(read, path):
    try:
        read(path)
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "tif", "ztif"])
def test_random_damage_never_ends_otherwise(tmp_path, kind):
    """Flip, cut or zero bytes: the image is read, or the error is ours and one line long."""
    whole = ZTIFF if kind == "ztif" else SMALL[kind]
    rng = np.random.default_rng(7)
    path = tmp_path / "x.img"
    refused = 0
    for _ in range(150):
        content = bytearray(whole)
        reach = len(content) if rng.random() < 0.5 else min(len(content), 400)
        for at in rng.integers(0, reach, rng.integers(1, 6)):
            content[at] = rng.integers(0, 256)
        if rng.random() < 0.2:
            del content[int(rng.integers(1, len(content))) :]
        path.write_bytes(content)
        messages = [message for read in (read_image, read_label_map) if (message := _refusal(read, path))]
        assert not any("\n" in message for message in messages)
        refused += len(messages)
    assert refused > 10


def _links(folder):
    try:
        (folder / "probe").symlink_to("probe")
    except (OSError, NotImplementedError):
        pytest.skip("this system does not let us make symbolic links")
    (folder / "probe").unlink()


def test_links_in_circles(tmp_path, capsys):
    _links(tmp_path)
    (tmp_path / "fine.png").write_bytes(SMALL["png"])
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "up").symlink_to(tmp_path, target_is_directory=True)
    code, lines = check_lines(tmp_path, capsys)
    assert code == 2
    assert [line.split("/")[-1] for line in lines] == [
        "gone.png: is a broken or circular link",
        "loop.png: is a broken or circular link",
    ]


def test_a_folder_that_holds_itself(tmp_path):
    _links(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / "images" / "x.png").write_bytes(SMALL["png"])
    (tmp_path / "images" / "images").symlink_to(tmp_path / "images", target_is_directory=True)
    (tmp_path / "masks" / "masks").symlink_to(tmp_path / "masks", target_is_directory=True)
    assert [sample.name for sample in open_dataset(tmp_path).samples] == ["x"]


def test_root_that_is_none(tmp_path, capsys):
    _links(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file.png").write_bytes(SMALL["png"])
    (tmp_path / "empty").mkdir()
    reasons = {
        "loop": "is a broken or circular link",
        "file.png": "is not a folder",
        "nothing": "does not exist",
        "empty": "holds no images",
    }
    for name, reason in reasons.items():
        code, lines = check_lines(tmp_path / name, capsys)
        assert code == 2
        assert len(lines) == 1
        assert reason in lines[0]


def _forbidding(folder):
    """Skip where forbidding has no effect: for root with all its capabilities, and on Windows."""
    probe = folder / "probe"
    probe.mkdir()
    probe.chmod(0)
    try:
        if os.access(probe, os.R_OK):
            pytest.skip("this user may read everything")
    finally:
        probe.chmod(0o700)
        probe.rmdir()


@pytest.mark.parametrize("what", ["file", "root", "masks", "no entering"])
def test_forbidden(tmp_path, capsys, what):
    _forbidding(tmp_path)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes(encoded("PNG", NOISE[..., 0]))
    path = {"file": tmp_path / "images" / "x.png", "masks": tmp_path / "masks"}.get(what, tmp_path)
    mode = path.stat().st_mode
    path.chmod(0o600 if what == "no entering" else 0)
    try:
        code, lines = check_lines(tmp_path, capsys)
    finally:
        path.chmod(mode)
    assert code == 2
    assert all("cannot be read (permission denied)" in line for line in lines)
    assert any(str(path) in line for line in lines)


def test_a_pipe_is_no_image(tmp_path, capsys):
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    (tmp_path / "fine.png").write_bytes(SMALL["png"])
    os.mkfifo(tmp_path / "pipe.png")
    code, lines = check_lines(tmp_path, capsys)
    assert code == 2
    assert len(lines) == 1
    assert "pipe.png: is not a regular file" in lines[0]


def test_damage_found_by_loading_names_the_file(tmp_path):
    content = bytearray(SMALL["png"])
    content[content.index(b"IDAT") + 30] ^= 0xFF
    (tmp_path / "x.png").write_bytes(content)
    dataset = open_dataset(tmp_path)
    with pytest.raises(InputError, match=r"x\.png: is damaged"):
        load_sample(dataset, dataset.samples[0])


def test_dataset_files_that_vanish_are_reported(tmp_path):
    (tmp_path / "x.png").write_bytes(SMALL["png"])
    dataset = open_dataset(tmp_path)
    (tmp_path / "x.png").unlink()
    with pytest.raises(InputError, match=r"x\.png: cannot be read \(no such file or directory\)"):
        load_sample(dataset, dataset.samples[0])
