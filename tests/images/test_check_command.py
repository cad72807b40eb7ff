"""``frugalseg data check`` as users call it."""

import json

import numpy as np

from frugalseg.cli import main

from .builders import colours, save, two_objects


def build(root):
    for name in ("a", "b", "c"):
        save(root / "images" / f"{name}.png", colours())
    save(root / "masks" / "a.png", two_objects())
    save(root / "masks" / "b.png", (two_objects() > 0).astype(np.uint8) * 255)
    return str(root)


def test_json_is_one_document_on_stdout(tmp_path, capsys):
    assert main(["data", "check", build(tmp_path), "--json", "--pixel-size", "0.5"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["images"], document["with_mask"], document["without_mask"]) == (3, 2, 1)
    assert document["objects"]["total"] == 4
    assert document["objects"]["median_diameter_px"] == np.median(2 * np.sqrt(np.array([12, 6]) / np.pi))
    assert document["classes"] == {"object": 4}
    assert document["sizes"] == {"16 x 12": 3}
    assert document["pixel_size_um"] == 0.5
    assert any("b.png: one label for all objects" in note for note in document["notes"])


def test_summary_is_readable(tmp_path, capsys):
    assert main(["data", "check", build(tmp_path)]) == 0
    printed = capsys.readouterr()
    for text in (
        "images + masks",
        "3, 2 with mask, 1 without",
        "16 x 12: 3",
        "object: 4",
        "note: 1 image without a mask",
    ):
        assert text in printed.out
    assert printed.err == ""


def test_images_alone_have_no_object_rows(tmp_path, capsys):
    save(tmp_path / "a[bold].png", colours())
    assert main(["data", "check", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "median diameter" not in printed
    assert "a[bold]" in printed


def test_masks_without_objects(tmp_path, capsys):
    save(tmp_path / "x.png", colours())
    save(tmp_path / "x_masks.png", np.zeros_like(two_objects()))
    assert main(["data", "check", str(tmp_path)]) == 0
    assert "no objects" in capsys.readouterr().out


def test_damaged_pixels_are_all_found(tmp_path, capsys):
    build(tmp_path)
    for name in ("a", "c"):
        path = tmp_path / "images" / f"{name}.png"
        content = bytearray(path.read_bytes())
        at = content.index(b"IDAT") + 20
        content[at] ^= 0xFF  # the chunk's checksum no longer fits
        path.write_bytes(content)
    assert main(["data", "check", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("is damaged" in line for line in lines)
