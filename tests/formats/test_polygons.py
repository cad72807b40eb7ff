"""Outlines of pixels and pixels of outlines, judged by shapely, matplotlib and scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.draw import polygon2mask

from frugalseg.formats.raster import GeometryError, Polygon, fill, make_ring, ring_spans
from frugalseg.formats.trace import trace_mask, trace_objects, trace_unknown

from .builders import RING, Labels, judged_mask, label_maps


def as_shape(outlines: list[list[list[tuple[int, int]]]]) -> shapely.MultiPolygon:
    return shapely.MultiPolygon([shapely.Polygon(rings[0], rings[1:]) for rings in outlines])


@settings(max_examples=300, deadline=None)
@given(label_maps())
def test_outlines_are_valid_and_enclose_exactly_the_object(labels: Labels) -> None:
    found = dict(trace_objects(labels))
    assert set(found) == set(np.unique(labels[labels > 0]).tolist())
    found[-1] = trace_unknown(labels)
    for label, outlines in found.items():
        if not outlines:
            assert not (labels == label).any()
            continue
        shape = as_shape(outlines)
        assert shape.is_valid, shapely.is_valid_reason(shape)
        judged = np.zeros(labels.shape, dtype=bool)
        for rings in outlines:
            assert shapely.Polygon(rings[0], rings[1:]).is_valid
            assert all(ring[0] == ring[-1] for ring in rings)
            assert shapely.LinearRing(rings[0]).is_ccw
            assert not any(shapely.LinearRing(hole).is_ccw for hole in rings[1:])
            judged |= judged_mask(rings, *labels.shape)
        np.testing.assert_array_equal(judged, labels == label)


def test_shapes_that_trip_outlines() -> None:
    for label, outlines in trace_objects(RING):
        assert as_shape(outlines).is_valid
        assert as_shape(outlines).area == np.count_nonzero(label == RING)
    assert trace_mask(np.ones((1, 1), dtype=bool)) == [[[(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]]]
    assert trace_mask(np.ones((1, 5), dtype=bool), x=3, y=2) == [[[(3, 2), (8, 2), (8, 3), (3, 3), (3, 2)]]]
    assert trace_mask(np.zeros((4, 4), dtype=bool)) == []
    diagonal = trace_mask(np.eye(3, dtype=bool))
    assert len(diagonal) == 3
    frame = np.ones((3, 3), dtype=bool)
    frame[1, 1] = False
    assert [len(rings) for rings in trace_mask(frame)] == [2]
    frame[0, 0] = False  # the hole meets the outside in a corner, and stays a hole
    assert [len(rings) for rings in trace_mask(frame)] == [2]
    assert as_shape(trace_mask(frame)).is_valid


COORDINATES = st.floats(-6, 18, width=32)


@settings(max_examples=300, deadline=None)
@given(hnp.arrays(np.float64, st.tuples(st.integers(3, 9), st.just(2)), elements=COORDINATES))
def test_pixels_are_those_whose_centres_lie_inside(ring: np.ndarray) -> None:
    height, width = 9, 11
    ours = np.zeros((height, width), dtype=bool)
    fill(ours, ring_spans(ring, height, width), 1)
    shape = shapely.Polygon(ring)
    y, x = np.mgrid[:height, :width] + 0.5
    clear = shapely.distance(shapely.LineString(np.vstack([ring, ring[:1]])), shapely.points(x, y)) > 1e-4
    if shape.is_valid:
        np.testing.assert_array_equal(ours[clear], shapely.contains_xy(shape, x, y)[clear])
    # scikit-image counts by the even-odd rule, too; its points are (row, column)
    judged = polygon2mask((height, width), ring[:, ::-1] - 0.5)
    np.testing.assert_array_equal(ours[clear], judged[clear])


def test_polygons_with_a_common_edge_share_no_pixel_and_leave_none() -> None:
    generator = np.random.default_rng(3)
    for _ in range(50):
        corners = np.array([(0, 0), (12, 0), (12, 10), (0, 10)], float)
        centre = generator.choice([generator.uniform(1, 9, 2), np.floor(generator.uniform(1, 9, 2)) + 0.5])
        count = np.zeros((10, 12), dtype=int)
        for index in range(4):
            part = np.zeros((10, 12), dtype=bool)
            triangle = np.array([corners[index], corners[(index + 1) % 4], centre])
            fill(part, ring_spans(triangle, 10, 12), 1)
            count += part
        assert (count == 1).all()


def test_holes_count_whatever_they_cross() -> None:
    shell = make_ring([[0, 0], [8, 0], [8, 8], [0, 8]])
    inner, crossing = make_ring([[2, 2], [4, 2], [4, 4], [2, 4]]), make_ring([[6, 6], [12, 6], [12, 12], [6, 12]])
    pixels = np.zeros((14, 14), dtype=bool)
    assert fill(pixels, Polygon(shell, (inner, crossing)).spans(14, 14), 1) == 64 - 4 - 4
    assert pixels.sum() == 56
    assert not pixels[8:].any()


@pytest.mark.parametrize(
    "ring",
    [
        [],
        None,
        "ring",
        [[0, 0], [1, 1]],
        [[0, 0], [1], [2, 2]],
        [["0", "0"], ["1", "1"], ["2", "0"]],
        [[True, False], [False, True], [True, True]],
        [[0, 0], [1, 1], [10**400, 3]],
        [[0, 0], [1e308, 0], [1e308, 1e308]],
        [[0, 0], [float("inf"), 0], [1, 1]],
        [[0, 0], [float("nan"), 0], [1, 1]],
        [[[0, 0]], [[1, 1]], [[2, 2]]],
        [{"x": 1}, 2, 3],
    ],
)
def test_rings_that_are_none(ring: object) -> None:
    with pytest.raises(GeometryError):
        make_ring(ring)


def test_a_ring_that_crosses_too_many_rows_is_refused_before_it_takes_memory() -> None:
    zigzag = np.array([(x, y) for x in range(20_000) for y in (0, 1e6)], float)
    with pytest.raises(GeometryError, match="crosses"):
        ring_spans(zigzag, 10_000, 10_000)
