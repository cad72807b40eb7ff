"""What is written and read again is what it was; what a format cannot say is told."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as judge
from pycocotools.coco import COCO

from frugalseg.errors import InputError
from frugalseg.formats import FORMATS, Annotated, AnnotationSet, Canvas, Wanted, WriteSettings
from frugalseg.formats.annotated import outside_unknown, present_labels
from frugalseg.formats.rle import close, encode_box, pack, to_spans, unpack
from frugalseg.images import write_image, write_label_map
from frugalseg.synthetic import synthetic_glands

from .builders import RING, Labels, canvas_of, judged_mask, label_maps, one, read, there_and_back

EXACT = ["labels", "geojson", "coco"]


def target(folder: Path, form: str, name: str = "out") -> Path:
    return folder / (f"{name}.json" if form == "coco" else name)


@pytest.mark.parametrize("form", EXACT)
@settings(max_examples=60, deadline=None)
@given(labels=label_maps(), data=st.data())
def test_labels_classes_window_and_completeness_survive(form: str, labels: Labels, data: st.DataObject) -> None:
    height, width = labels.shape
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    window = data.draw(st.none() | st.just((x, y, width - x, height - y)))
    if window == (0, 0, width, height):
        window = None
    labels = outside_unknown(labels, window)
    classes = {label: data.draw(st.sampled_from(["gland", "nerve"])) for label in present_labels(labels)}
    complete = data.draw(st.booleans())
    with tempfile.TemporaryDirectory() as folder:
        drawn = one(labels, classes, window=window, complete=complete)
        gzipped = form == "geojson" and data.draw(st.booleans())
        packed = form == "coco" and data.draw(st.booleans())
        (back,) = there_and_back(form, drawn, target(Path(folder), form), gzip=gzipped, coco_rle=packed)
    np.testing.assert_array_equal(back.labels, labels)
    assert dict(back.classes) == classes
    assert (back.window, back.complete) == (window, complete)
    assert back.notes == ()


@pytest.mark.parametrize("form", EXACT)
def test_several_images_one_of_them_empty(form: str, tmp_path: Path) -> None:
    maps = {"a": RING, "b": np.zeros((7, 5), np.int32), "ü ö": np.full((3, 4), -1, np.int32)}
    canvases = tuple(canvas_of(labels, name) for name, labels in maps.items())
    drawn = AnnotationSet(
        canvases,
        lambda canvas: Annotated(canvas, maps[canvas.name], dict.fromkeys(present_labels(maps[canvas.name]), "gland")),
        ("gland",),
    )
    done = FORMATS[form].write(target(tmp_path, form), drawn, WriteSettings())
    assert (done.images, done.objects, done.notes) == (3, 3, ())
    for each in read(form, target(tmp_path, form), *canvases):
        np.testing.assert_array_equal(each.labels, maps[each.canvas.name])
    only = FORMATS[form].read(target(tmp_path, form), Wanted({c.name: c for c in canvases}, frozenset(["a"])))
    assert [canvas.name for canvas in only.canvases] == ["a"]


@pytest.mark.parametrize("form", [*EXACT, "cellpose"])
def test_writing_twice_gives_the_same_bytes(form: str, tmp_path: Path) -> None:
    for name in ("first", "second"):
        FORMATS[form].write(target(tmp_path, form, name), one(RING), WriteSettings(gzip=form == "geojson"))
    first, second = (
        [file.read_bytes() for file in sorted(tmp_path.rglob("*")) if name in str(file) and file.is_file()]
        for name in ("first", "second")
    )
    assert first == second
    assert first


@settings(max_examples=60, deadline=None)
@given(label_maps())
def test_geojson_is_valid_and_its_identifiers_are_unique(labels: Labels) -> None:
    with tempfile.TemporaryDirectory() as folder:
        FORMATS["geojson"].write(Path(folder) / "out", one(labels), WriteSettings())
        document = json.loads((Path(folder) / "out" / "x.geojson").read_text())
    features = document["features"]
    assert document["type"] == "FeatureCollection"
    assert len({feature["id"] for feature in features}) == len(features)
    for feature in features:
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.is_valid, shapely.is_valid_reason(shape)
        assert feature["type"] == "Feature"
        assert feature["properties"]["objectType"] == "annotation"
        name, colour = (feature["properties"]["classification"][key] for key in ("name", "color"))
        assert name in ("gland", "Ignore*")
        assert len(colour) == 3
        parts = feature["geometry"]["coordinates"]
        parts = [parts] if feature["geometry"]["type"] == "Polygon" else parts
        judged = np.any([judged_mask(rings, *labels.shape) for rings in parts], axis=0)
        label = feature["properties"].get("measurements", {}).get("Label", -1)
        assert not (judged & (labels != label)).any()


def test_identifiers_follow_the_content_not_the_number(tmp_path: Path) -> None:
    def names(labels: Labels, folder: str) -> dict[int, str]:
        FORMATS["geojson"].write(tmp_path / folder, one(labels), WriteSettings())
        features = json.loads((tmp_path / folder / "x.geojson").read_text())["features"]
        return {feature["properties"]["measurements"]["Label"]: feature["id"] for feature in features}

    before = names(RING, "before")
    renumbered = np.where(RING > 0, RING + 10, 0)
    assert names(renumbered, "renumbered") == {label + 10: name for label, name in before.items()}
    changed = RING.copy()
    changed[0, 0] = 0
    after = names(changed, "after")
    assert after[1] != before[1]
    assert after[2] == before[2]


def test_gzip_has_no_time_in_it(tmp_path: Path) -> None:
    FORMATS["geojson"].write(tmp_path / "out", one(RING), WriteSettings(gzip=True))
    content = (tmp_path / "out" / "x.geojson.gz").read_bytes()
    assert content[4:8] == bytes(4)
    assert json.loads(gzip.decompress(content))["frugalseg"]["width"] == RING.shape[1]


def glands(seed: int) -> Labels:
    return synthetic_glands(seed, height=160, width=200, kind="benign").labels


@pytest.mark.parametrize("packed", [False, True])
def test_coco_as_its_own_reader_sees_it(packed: bool, tmp_path: Path) -> None:
    labels = glands(1)
    labels[:20, :30] = -1
    FORMATS["coco"].write(tmp_path / "out.json", one(labels), WriteSettings(coco_rle=packed))
    coco = COCO(str(tmp_path / "out.json"))
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["gland", "nerve"]
    seen = {}
    for annotation in coco.loadAnns(coco.getAnnIds(iscrowd=False)):
        mask = coco.annToMask(annotation).astype(bool)
        inside = labels == annotation["label"]
        seen[annotation["label"]] = mask
        assert isinstance(annotation["segmentation"], dict) or not packed
        assert np.count_nonzero(mask != inside) <= 0.005 * inside.sum()
        assert annotation["area"] == inside.sum()
        np.testing.assert_array_equal(
            annotation["bbox"], judge.toBbox(judge.encode(np.asfortranarray(inside.astype(np.uint8))))
        )
    assert sorted(seen) == present_labels(labels)
    crowds = coco.loadAnns(coco.getAnnIds(iscrowd=True))
    assert [crowd["category_id"] for crowd in crowds] == [1, 2]
    np.testing.assert_array_equal(coco.annToMask(crowds[0]).astype(bool), labels == -1)


@settings(max_examples=200, deadline=None)
@given(label_maps(low=0))
def test_run_lengths_are_those_of_the_judge(labels: Labels) -> None:
    mask = labels > 0
    theirs = judge.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    counts = close(encode_box(mask, 0, 0, mask.shape[0]), mask.size) if mask.any() else [mask.size]
    assert pack(counts) == theirs
    assert unpack(theirs) == counts
    pixels = np.zeros(mask.T.shape, dtype=bool)
    for column, start, stop in zip(*to_spans(theirs, *mask.shape), strict=True):
        pixels[column, start:stop] = True
    np.testing.assert_array_equal(pixels.T, mask)


def test_run_lengths_of_a_large_area() -> None:
    mask = np.ones((3000, 3500), dtype=bool)
    mask[500:900, 1300:1500] = mask[:, 2000] = mask[0, :7] = False
    theirs = judge.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert pack(close(encode_box(mask, 0, 0, 3000), mask.size)) == theirs


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=12))
def test_packing_goes_both_ways(counts: list[int]) -> None:
    assert unpack(pack(counts)) == counts


def test_coco_of_others(tmp_path: Path) -> None:
    """Polygons in pieces with fractions, plain run lengths, packed ones, a crowd; ids as text."""
    disk = np.zeros((20, 30), np.uint8)
    disk[12:18, 20:27] = 1
    packed = judge.encode(np.asfortranarray(disk))
    annotations: list[dict[str, Any]] = [
        {"segmentation": [[1.2, 1.1, 6.8, 1.1, 6.8, 5.9, 1.2, 5.9], [8, 8, 10, 8, 10, 10, 8, 10]], "iscrowd": 0},
        {"segmentation": {"size": [20, 30], "counts": [5 * 20 + 10, 3, 600 - 113]}},
        {"segmentation": {"size": [20, 30], "counts": packed["counts"].decode()}, "iscrowd": 0},
        {"segmentation": {"size": [20, 30], "counts": [560, 40]}, "iscrowd": 1},
    ]
    document = {
        "annotations": [{"id": n, "image_id": "i7", "category_id": 5, **each} for n, each in enumerate(annotations)],
        "images": [{"id": "i7", "file_name": "some\\folder/x.tif", "width": 30, "height": 20}],
        "categories": [{"id": 5, "name": "cell"}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(document))
    (found,) = read("coco", tmp_path / "coco.json", canvas_of(np.zeros((20, 30), np.int32)))
    expected = np.zeros((20, 30), np.int32)
    expected[1:6, 1:7] = 1
    expected[8:10, 8:10] = 1
    expected[10:13, 5] = 2
    expected[disk > 0] = 3
    expected[:, 28:] = -1
    np.testing.assert_array_equal(found.labels, expected)
    assert found.classes == {1: "cell", 2: "cell", 3: "cell"}
    assert found.notes == ("x: 1 crowd (iscrowd) taken as not annotated",)


def feature(kind: str, coordinates: Any, **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates}, "properties": properties}


HOLED = [[[1, 1], [9.5, 1], [9.5, 8.2], [1, 8.2], [1, 1]], [[3, 3], [5, 3], [5, 5], [3, 5], [3, 3]]]
PIECES = [[[[12, 2], [14, 2], [14, 4], [12, 4]]], [[[16, 2], [18, 2], [18, 4], [16, 4]]]]
QUPATH = [
    feature(
        "Polygon", HOLED, objectType="annotation", classification={"name": "Tumor", "colorRGB": -3670016}, isLocked=True
    ),
    feature(
        "MultiPolygon",
        PIECES,
        object_type="detection",
        classification={"names": ["Tumor", "Positive"]},
        measurements=[{"name": "Label", "value": 40.0}],
    ),
    feature("Point", [1, 1]),
    feature("Polygon", [[[6, 6], [20, 6], [6, 16], [20, 16], [6, 6]]]),
    feature("Polygon", [[[-5, 15], [3, 15], [3, 19], [-5, 19]]], classification=None),
    {**feature("Polygon", [[[90, 90], [95, 90], [95, 95]]]), "properties": None, "nucleusGeometry": None},
    feature("Polygon", [[[0, 0], [30, 0], [30, 19], [0, 19]]], classification={"name": "Region*"}),
]


@pytest.mark.parametrize("wrapping", ["collection", "list"])
def test_geojson_of_qupath(wrapping: str, tmp_path: Path) -> None:
    document = QUPATH if wrapping == "list" else {"type": "FeatureCollection", "features": QUPATH}
    (tmp_path / "x.png.geojson").write_text(json.dumps(document, indent=1), encoding="utf-8-sig")
    (found,) = read("geojson", tmp_path, canvas_of(np.zeros((20, 30), np.int32)))
    assert found.window == (0, 0, 30, 19)
    assert (found.labels[19] == -1).all()
    assert found.classes == {1: "Tumor", 40: "Tumor: Positive", 2: None, 3: None}
    assert found.labels[3, 3] == 0
    assert found.labels[2, 12] == found.labels[2, 17] == 40
    assert found.labels[6, 6:9].tolist() == [1, 2, 2]  # the upper half of the bow tie lies on the first polygon
    assert found.labels[14, 12] == 2
    assert found.labels[11, 8] == 0
    assert (found.labels[15:19, :3] == 3).all()
    assert [note.partition(": ")[2] for note in found.notes] == [
        "1 feature without an area (points, lines, nothing), left out",
        "2 objects reach beyond the image and are cut off there",
        "1 object has an outline that crosses itself; what it encloses an odd number of times counts",
        "1 object covers no pixel's centre in the image and is left out",
        "1 object is covered by later ones, or cut by the window, in part",
    ]


@pytest.mark.parametrize("form", EXACT)
def test_a_mask_of_one_value_is_one_object_if_it_was(form: str, tmp_path: Path) -> None:
    labels = np.zeros((6, 9), np.int32)
    labels[1:3, 1:3] = labels[4:6, 6:8] = 255
    (back,) = there_and_back(form, one(labels), target(tmp_path, form))
    np.testing.assert_array_equal(back.labels, labels)


def test_label_maps_of_others(tmp_path: Path) -> None:
    mask = np.zeros((6, 9), np.int32)
    mask[1:3, 1:3] = mask[4:6, 6:8] = 255
    write_label_map(tmp_path / "x_mask.png", mask)
    (found,) = read("labels", tmp_path, canvas_of(mask))
    assert present_labels(found.labels) == [1, 2]
    assert "2 connected components" in found.notes[0]


def test_nnunet(tmp_path: Path) -> None:
    labels = np.zeros((20, 30), np.int32)
    labels[2:6, 2:6], labels[10:14, 2:6], labels[2:6, 10:14], labels[2:6, 14:18] = 1, 2, 3, 4
    labels[18:] = -1
    write_image(tmp_path / "x.png", np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    canvas = Canvas("x", tmp_path / "x.png", 20, 30)
    drawn = Annotated(canvas, labels, {1: "gland", 2: "nerve", 3: "gland", 4: "gland"})
    both = AnnotationSet((canvas,), lambda _: drawn, ("gland", "nerve"))
    done = FORMATS["nnunet"].write(tmp_path / "out", both, WriteSettings())
    assert "at least 1 of 4 objects touch" in done.notes[1]
    assert (tmp_path / "out/imagesTr/x_0000.png").read_bytes() == (tmp_path / "x.png").read_bytes()
    document = json.loads((tmp_path / "out/dataset.json").read_text())
    assert document["labels"] == {"background": 0, "gland": 1, "nerve": 2, "ignore": 3}
    (back,) = read("nnunet", tmp_path / "out", canvas)
    assert sorted(filter(None, back.classes.values())) == ["gland", "gland", "nerve"]
    np.testing.assert_array_equal(np.sign(back.labels), np.sign(labels))
    write_image(tmp_path / "x.png", np.zeros((20, 30, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="is another image"):
        read("nnunet", tmp_path / "out", canvas)


@pytest.mark.parametrize("form", list(FORMATS))
def test_nothing_is_written_over(form: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("kept")
    with pytest.raises(InputError):
        FORMATS[form].write(out, one(RING), WriteSettings())
    assert [file.name for file in tmp_path.rglob("*")] == ["out", "precious"]


@pytest.mark.parametrize("form", list(FORMATS))
def test_a_failure_in_the_middle_leaves_nothing(form: str, tmp_path: Path) -> None:
    def load(canvas: Canvas) -> Annotated:
        if canvas.name == "b":
            raise InputError("b", "is damaged")
        return Annotated(canvas, RING, {1: "gland", 2: "gland", 3: "gland"})

    for name in "ab":
        write_image(tmp_path / f"{name}.png", np.zeros((6, 6, 3), dtype=np.uint8))
    canvases = tuple(Canvas(name, tmp_path / f"{name}.png", 6, 6) for name in "ab")
    with pytest.raises(InputError, match="is damaged"):
        FORMATS[form].write(target(tmp_path, form), AnnotationSet(canvases, load, ("gland",)), WriteSettings())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "b.png"]
