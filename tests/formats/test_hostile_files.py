"""Files that nobody should send: one line each, in little time and memory."""

from __future__ import annotations

import gzip
import io
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frugalseg.errors import InputError
from frugalseg.formats import WriteSettings, json_stream
from frugalseg.formats.geojson import write_geojson
from frugalseg.formats.json_stream import JsonStream
from frugalseg.images import write_label_map

from .builders import RING, canvas_of, one, read

SQUARE = [[[1, 1], [4, 1], [4, 4], [1, 4], [1, 1]]]


def feature(coordinates: Any = SQUARE, kind: Any = "Polygon", **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


def collection(*features: Any, **members: Any) -> str:
    return json.dumps({"type": "FeatureCollection", **members, "features": list(features)})


def refused(form: str, path: Path, *others: str) -> list[str]:
    """The reasons why nothing of a file or folder is taken, a line each."""
    with pytest.raises(InputError) as caught:
        read(form, path, canvas_of(RING), *(canvas_of(RING, other) for other in others))
    reasons = [str(problem) for problem in caught.value.problems]
    assert all("\n" not in reason and len(reason) < 400 for reason in reasons)
    return reasons


GEOJSON = {
    "": "it ends too early",
    "no": "'{' expected",
    "{": "it ends too early",
    '{"type": "FeatureCollection", "features": [': "expecting value",
    collection(feature())[:-40]: "JSON",
    collection(feature())[:-1]: "it ends too early",
    collection(feature()) + "}": "something follows",
    collection(feature()).replace("4, 4", "NaN, 4"): "NaN is no number",
    collection(feature()).replace("4, 4", "-Infinity, 4"): "is no number",
    collection(feature()).replace("4, 4", "1e999, 4"): "not finite",
    collection(feature()).replace("4, 4", "1e308, 1e308"): "beyond 1e+09",
    collection(feature()).replace("4, 4", "9" * 400 + ", 4"): "no list of positions",
    collection(feature()).replace("4, 4", "9" * 9000 + ", 4"): "JSON",
    collection(feature()).replace("4, 4", '"4", "4"'): "no list of positions",
    collection(feature([[[1, 1], [2, 2]]])): "three are the least",
    collection(feature([[]])): "without positions",
    collection(feature("here")): "without coordinates",
    collection(feature([5])): "without positions",
    collection(feature(kind="Circle")): "'Circle'",
    collection(feature(kind=["Polygon"])): "type",
    collection({"type": "Feature", "geometry": "none"}): "cannot be read",
    collection("feature"): "no GeoJSON feature",
    collection(feature(), frugalseg={"width": 7, "height": 6}): "drawn on an image of 7 x 6, x is 6 x 6",
    collection(feature(), frugalseg={"width": "six"}): "six x 6",
    "[" * 100_000: "nested too deeply",
    '{"type": "FeatureCollection", "features": ' + "[" * 100_000 + "]" * 100_000 + "}": "nested too deeply",
    '{"type": "FeatureCollection", "features": [' + '{"a":' * 100_000: "nested too deeply",
    '{"type": "Point"}': "no GeoJSON collection",
    '{"features": {}}': "no GeoJSON collection",
    "42": "'{' expected",
    collection({"type": "Feature", "geometry": None}).replace("null", "nul"): "expecting value",
}


@pytest.mark.parametrize(("text", "reason"), GEOJSON.items(), ids=range(len(GEOJSON)))
def test_geojson(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "x.geojson").write_text(text)
    (told,) = refused("geojson", tmp_path)
    assert told.startswith(f"{tmp_path}/x.geojson: ")
    assert reason in told


def test_files_around_geojson(tmp_path: Path) -> None:
    assert "does not exist" in refused("geojson", tmp_path / "nothing")[0]
    assert "holds no GeoJSON" in refused("geojson", tmp_path)[0]
    (tmp_path / "y.geojson").write_text(collection())
    (tmp_path / "z.json").write_text(collection())
    assert ["(none is named y)" in reason for reason in refused("geojson", tmp_path)] == [True, False]
    (tmp_path / "x.geojson").write_bytes(b"\xff\xfe{}")
    assert "is not UTF-8" in refused("geojson", tmp_path, "y", "z")[0]
    (tmp_path / "x.json").write_text(collection())
    assert "already does" in refused("geojson", tmp_path, "y", "z")[0]
    packed = gzip.compress(collection(feature()).encode())
    for content in (b"", packed[:30], packed[:-6], b"{}", packed[:20] + b"\0\0\0" + packed[23:]):
        (tmp_path / "x.geojson.gz").write_bytes(content)
        (reason,) = refused("geojson", tmp_path / "x.geojson.gz")
        assert "gzip" in reason or "JSON" in reason


def test_cut_off_anywhere(tmp_path: Path) -> None:
    write_geojson(tmp_path / "out", one(RING, window=(0, 0, 5, 6)), WriteSettings())
    whole = (tmp_path / "out" / "x.geojson").read_bytes()
    for end in range(0, len(whole.rstrip()) - 1, 3):
        (tmp_path / "out" / "x.geojson").write_bytes(whole[:end])
        (reason,) = refused("geojson", tmp_path / "out")
        assert "is not valid JSON" in reason


@settings(max_examples=100, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=3), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4), max_leaves=12), st.integers(1, 9))  # fmt: skip  # noqa: E501
def test_streamed_json_is_json(value: Any, chunk: int) -> None:
    text = json.dumps({"a": value, "list": [value, 12345, value], "b": [-1.5]})
    if "NaN" in text or "Infinity" in text:
        return
    before, json_stream.CHUNK = json_stream.CHUNK, chunk
    try:
        stream = JsonStream(Path("x"), io.BytesIO(text.encode()))
        found = {name: list(stream.items()) if name == "list" else stream.value() for name in stream.members()}
        stream.end()
    finally:
        json_stream.CHUNK = before
    assert found == json.loads(text)


def test_gigantic_rings_take_neither_time_nor_memory(tmp_path: Path) -> None:
    canvas = canvas_of(np.zeros((2000, 2000), np.int32))
    zigzag = [[x / 100, (x % 2) * 1e8] for x in range(20_000)]
    (tmp_path / "x.json").write_text(collection(feature([zigzag])))
    start = time.monotonic()
    tracemalloc.start()
    with pytest.raises(InputError, match="crosses"):
        read("geojson", tmp_path / "x.json", canvas)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    wild = np.random.default_rng(0).uniform(-1e6, 1e6, (5000, 2)).tolist()
    (tmp_path / "x.json").write_text(collection(feature([wild])))
    (found,) = read("geojson", tmp_path / "x.json", canvas)
    assert "crosses itself" in " ".join(found.notes)
    assert time.monotonic() - start < 30


def test_a_packed_file_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "MAX_BYTES", 2**22)
    monkeypatch.setattr(json_stream, "MAX_ITEM", 2**20)
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(b" " * 2**23))
    assert "longer than" in refused("geojson", tmp_path)[0]
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(b'["' + b"a" * 2**23))
    assert "more than" in refused("geojson", tmp_path)[0]


def coco(**changes: Any) -> dict[str, Any]:
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [[1, 1, 4, 1, 4, 4]]}
    annotation.update({key: value for key, value in changes.items() if key in annotation})
    document = {
        "images": [{"id": 1, "file_name": "x.png", "width": 6, "height": 6}],
        "categories": [{"id": 1, "name": "gland"}],
        "annotations": [annotation],
    }
    return {**document, **{key: value for key, value in changes.items() if key not in annotation}}


COCO = [
    ([], "no COCO file"),
    ({}, "has no annotations, categories, images"),
    (coco(images=3), "images is no list"),
    (coco(images=[{"id": 1}]), "no id or no file_name"),
    (coco(images=[]), "holds no images"),
    (coco(images=[{"id": 1, "file_name": "x.png", "width": 7, "height": 6}]), "has x as 7 x 6, it is 6 x 6"),
    (coco(images=[{"id": 1, "file_name": "x.png"}]), "has x as None x None"),
    (coco(images=[{"id": 1, "file_name": "q.png", "width": 6, "height": 6}]), "none is named q"),
    (coco(images=[{"id": n, "file_name": "x.png", "width": 6, "height": 6} for n in (1, 2)]), "two images named x"),
    (coco(image_id=2), "annotations of an image 2, which it does not list"),
    (coco(image_id=None), "no image_id"),
    (coco(category_id=7), "annotations of a category 7, which it does not list"),
    (coco(categories=[{"id": 1}]), "a category has no id or no name"),
    (coco(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]), "two categories with the id 1"),
    (coco(annotations=["a"]), "annotation 1 has no image_id"),
    (coco(segmentation=[]), "boxes alone"),
    (coco(segmentation=None), "boxes alone"),
    (coco(segmentation=[[1, 2, 3]]), "no list of numbers"),
    (coco(segmentation=[[1, 2, 3, 4]]), "three are the least"),
    (coco(segmentation=[["1", "2", "3", "4", "5", "6"]]), "no list of numbers"),
    (coco(segmentation=[[1, 2, 3, 4, 5, 1e300]]), "beyond"),
    (coco(segmentation=[[1, 2, 3, 4, 5, 10**300]]), "no list of numbers"),
    (coco(segmentation={"counts": [36]}), "without counts or size"),
    (coco(segmentation={"size": [6, 7], "counts": [42]}), "of another size than 6 x 6"),
    (coco(segmentation={"size": [6, 6], "counts": [35]}), "35 pixels in all"),
    (coco(segmentation={"size": [6, 6], "counts": [-1, 37]}), "no list of numbers from 0"),
    (coco(segmentation={"size": [6, 6], "counts": [1.5, 34.5]}), "no list of numbers from 0"),
    (coco(segmentation={"size": [6, 6], "counts": "\u00ff"}), "cannot be unpacked"),
    (coco(segmentation={"size": [6, 6], "counts": "o" * 30}), "cannot be unpacked"),
    (coco(segmentation={"size": [6, 6], "counts": "P"}), "end in the middle"),
    (coco(frugalseg={"images": {"x": {"window": [0, 0, 10**400, 2]}}}), "impossible window"),
]


@pytest.mark.parametrize(("document", "reason"), COCO, ids=range(len(COCO)))
def test_coco(document: Any, reason: str, tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text(json.dumps(document))
    assert any(reason in told for told in refused("coco", tmp_path / "coco.json")), refused(
        "coco", tmp_path / "coco.json"
    )


def test_label_maps(tmp_path: Path) -> None:
    assert "is not a folder" in refused("labels", Path(__file__))[0]
    assert "holds no label maps" in refused("labels", tmp_path)[0]
    write_label_map(tmp_path / "x.png", RING[1:])
    assert "is 6 x 5" in refused("labels", tmp_path)[0]
    write_label_map(tmp_path / "x.png", RING)
    (tmp_path / "classes.csv").write_text("image,label,class\nx,1,gland\n")
    assert "object 2, 3 has no class" in refused("labels", tmp_path)[0]
    (tmp_path / "classes.csv").unlink()
    for row in ("x,maybe,,,,", "x,yes,1,,,", "x,yes,a,1,1,1", ",,,,,"):
        (tmp_path / "annotations.csv").write_text(f"image,complete,x,y,width,height\n{row}\nz,,,,,\n")
        if row.strip(","):
            assert "cannot be read" in refused("labels", tmp_path)[0]
    (tmp_path / "annotations.csv").write_text("image,complete,x,y,width,height\nx,yes,0,0,6,7\n")
    assert "impossible window" in refused("labels", tmp_path)[0]


def test_nnunet(tmp_path: Path) -> None:
    assert "is no nnU-Net folder" in refused("nnunet", tmp_path)[0]
    (tmp_path / "imagesTr").mkdir()
    assert refused("nnunet", tmp_path)
