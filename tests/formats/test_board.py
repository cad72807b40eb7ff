"""Where objects overlap, and what is said of areas besides them."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from frugalseg.errors import InputError
from frugalseg.formats import FORMATS, WriteSettings
from frugalseg.formats.annotated import present_labels
from frugalseg.formats.board import Board
from frugalseg.formats.raster import Polygon
from frugalseg.synthetic import synthetic_glands

from .builders import RING, Labels, canvas_of, judged_mask, one, read


def box(x: float, y: float, w: float, h: float) -> list[Polygon]:
    return [Polygon(np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], float))]


def board(height: int = 8, width: int = 10) -> Board:
    return Board(canvas_of(np.zeros((height, width), np.int32)))


def test_the_later_one_stays_on_top() -> None:
    drawn = board()
    drawn.draw(box(0, 0, 6, 6), "gland", None)
    drawn.draw(box(1, 1, 2, 2), "nerve", None)
    drawn.draw(box(7, 7, 1, 1), "nerve", None)
    drawn.draw(box(7, 7, 2, 1), "gland", None)
    found = drawn.finish()
    assert found.labels[0, 0] == 1
    assert found.labels[2, 2] == 2
    assert found.labels[7, 7] == found.labels[7, 8] == 3
    assert found.classes == {1: "gland", 2: "nerve", 3: "gland"}
    assert found.notes == (
        "x: 1 object is covered by later ones, or cut by the window, in part",
        "x: 1 object is covered by later ones, or outside the window, and is left out",
    )


def test_numbers_are_kept_where_they_can_be() -> None:
    drawn = board()
    for index, wanted in enumerate([2, None, 2, 0, -5, 2**40, 4, 1]):
        drawn.draw(box(index, 0, 1, 1), None, wanted)
    found = drawn.finish()
    assert found.labels[0, :8].tolist() == [2, 3, 5, 6, 7, 8, 4, 1]


def test_regions_and_what_is_ignored() -> None:
    drawn = board()
    drawn.draw(box(0, 0, 2, 2), None, None)
    drawn.ignore(box(1, 1, 3, 3))
    found = drawn.finish()
    assert found.window is None
    assert found.labels[1, 1] == 1
    assert found.labels[3, 3] == -1
    drawn = board()
    drawn.draw(box(4, 4, 3, 3), None, None)
    drawn.region(box(2, 2, 4, 4))
    found = drawn.finish()
    assert found.window == (2, 2, 4, 4)
    assert np.count_nonzero(found.labels == 1) == 4
    assert found.labels[6, 6] == -1
    drawn = board()
    drawn.draw(box(4, 4, 3, 3), None, None)
    drawn.region(box(2, 2, 4, 4))
    drawn.region(box(0, 0, 1, 1))
    found = drawn.finish()
    assert found.window is None
    assert np.count_nonzero(found.labels == 1) == 4
    assert (found.labels[0, 0], found.labels[0, 1], found.labels[3, 3]) == (0, -1, 0)
    drawn = board()
    drawn.draw(box(4, 4, 3, 3), None, None)
    drawn.draw(box(8, 0, 2, 2), None, None)
    drawn.region(box(2, 2, 4, 4))
    drawn.region(box(0, 0, 1, 1))
    found = drawn.finish()
    assert np.count_nonzero(found.labels == 1) == 4, "as where the region is one rectangle"
    assert set(np.unique(found.labels)) == {-1, 0, 1}
    assert found.notes == (
        "x: 1 object is covered by later ones, or cut by the window, in part",
        "x: 1 object is covered by later ones, or outside the window, and is left out",
    )
    drawn = board()
    drawn.region(box(-5, -5, 50, 50))
    assert drawn.finish().window is None
    drawn = board()
    drawn.region(box(50, 50, 5, 5))
    assert (drawn.finish().labels == -1).all()


def test_an_image_of_glands_by_another_rasteriser(tmp_path: Path) -> None:
    labels = synthetic_glands(3, height=200, width=260, kind="malignant").labels
    FORMATS["geojson"].write(tmp_path / "out", one(labels), WriteSettings())
    features = json.loads((tmp_path / "out" / "x.geojson").read_text())["features"]
    seen = {}
    for feature in features:
        geometry = feature["geometry"]
        parts = [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]
        judged = np.any([judged_mask(rings, *labels.shape) for rings in parts], axis=0)
        seen[feature["properties"]["measurements"]["Label"]] = judged
    assert sorted(seen) == present_labels(labels)
    for label, judged in seen.items():
        inside = labels == label
        assert np.count_nonzero(judged != inside) <= 0.005 * inside.sum()


JUNK = [
    None,
    True,
    -1,
    0,
    1,
    2**63,
    10**30,
    -1e9,
    1e308,
    "",
    "é",
    "\ud800",
    "Polygon",
    "GeometryCollection",
    [],
    {},
    [[]],
]
JUNK += [[1], [None], [1, 2, 3, 4, 5, 6], [[1, 2], [3, 4], [5, 6]], {"a": 1}, {"name": "Region*"}, {"size": [6, 6]}]


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a document with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place for key in keys for place in [(value, key), *places(value[key])]]


@pytest.mark.parametrize("form", ["geojson", "coco"])
def test_spoilt_documents_are_read_or_refused(form: str, tmp_path: Path) -> None:
    labels: Labels = RING.copy()
    labels[5] = -1
    path = tmp_path / "out.json"
    FORMATS[form].write(path if form == "coco" else tmp_path / "out", one(labels, window=(0, 0, 5, 6)), WriteSettings())
    whole = json.loads((path if form == "coco" else tmp_path / "out" / "x.geojson").read_text())
    draw = random.Random(7)
    read_well = 0
    for _ in range(500):
        document = copy.deepcopy(whole)
        for _ in range(draw.randint(1, 3)):
            container, key = draw.choice(places(document))
            container[key] = copy.deepcopy(draw.choice(JUNK))
        (tmp_path / "x.json").write_text(json.dumps(document))
        try:
            (found,) = read(form, tmp_path / "x.json", canvas_of(RING))
        except InputError as error:
            told = [problem.reason for problem in error.problems]
            assert all("\n" not in reason and len(reason) < 300 for reason in told), told
            continue
        read_well += 1
        assert found.labels.shape == RING.shape
        assert int(found.labels.min()) >= -1
        assert sorted(found.classes) == present_labels(found.labels)
    assert 10 < read_well < 490
