"""The metrics against hand-computed cases, a slow second implementation, and their invariances."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import glas_reference

from frugalseg.metrics import (
    FIGURES,
    ImageScores,
    image_means,
    object_dice,
    object_f1,
    object_hausdorff,
    pool,
    score_image,
)

TOLERANCE = 1e-9
DTYPES = [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64]


def box(shape, *boxes):
    """Label map with rectangles (top, left, height, width, label), later ones above earlier ones."""
    labels = np.zeros(shape, dtype=np.int64)
    for top, left, height, width, label in boxes:
        labels[top : top + height, left : left + width] = label
    return labels


def assert_equal_to_reference(pairs):
    pooled = pool([score_image(pred, truth) for pred, truth in pairs])
    expected = glas_reference.figures(pairs)
    assert {name: getattr(pooled, name) for name in FIGURES} == pytest.approx(expected, abs=TOLERANCE, rel=0)


# --- generated pairs ------------------------------------------------------------------------------------------------


@st.composite
def painted(draw, shape, labels):
    """Rectangles painted over one another: touching, holed (label 0 on top), in pieces, one pixel small, or nothing."""
    height, width = shape
    side = st.sampled_from([1, 1, 2, 3, 5, 8, 14])
    rectangle = st.tuples(st.integers(0, height - 1), st.integers(0, width - 1), side, side, st.sampled_from(labels))
    return box(shape, *draw(st.lists(rectangle, max_size=9)))


@st.composite
def label_map_pairs(draw):
    """Prediction and truth: independent, or the prediction a shifted, cut or merged truth, for good overlaps."""
    shape = draw(st.tuples(st.integers(1, 16), st.integers(1, 16)))
    labels = draw(st.sampled_from([[0, 1, 2, 3], [0, 5, 40, 41, 200], [0, 1, 7, 100]]))
    truth = draw(painted(shape, labels))
    kind = draw(st.sampled_from(["independent", "shifted", "merged", "cut", "noise"]))
    if kind == "independent":
        pred = draw(painted(shape, labels))
    elif kind == "shifted":
        pred = np.roll(truth, draw(st.tuples(st.integers(-3, 3), st.integers(-3, 3))), axis=(0, 1))
    elif kind == "merged":
        pred = np.where(truth > 0, 1 + truth % 2, 0)
    elif kind == "cut":
        pred = truth.copy()
        pred[:, shape[1] // 2] = 0
        pred[:, shape[1] // 2 + 1 :] += 50 * (pred[:, shape[1] // 2 + 1 :] > 0)
    else:
        pred = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).choice(labels, size=shape)
    if draw(st.integers(0, 4)) == 0:
        truth = np.where(draw(painted(shape, [0, 1])) > 0, -1, truth)
        return pred.astype(np.uint32), truth.astype(np.int32)
    dtypes = st.sampled_from(DTYPES)
    return pred.astype(draw(dtypes)), truth.astype(draw(dtypes))


@settings(max_examples=2200, deadline=None, derandomize=True, database=None)
@given(label_map_pairs())
def test_one_pair_equals_reference(pair):
    assert_equal_to_reference([pair])


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(st.lists(label_map_pairs(), min_size=2, max_size=5))
def test_pooling_equals_reference(pairs):
    assert_equal_to_reference(pairs)


@pytest.mark.parametrize("seed", range(6))
def test_hundreds_of_objects_equal_reference(seed):
    """One-pixel to four-pixel objects, labels far apart (above the counting table's limit for odd seeds)."""
    rng = np.random.default_rng(seed)
    ids = np.arange(40 * 40, dtype=np.int64).reshape(40, 40)[::2, ::2].repeat(2, 0).repeat(2, 1) + 1
    truth = np.where(rng.random(ids.shape) < 0.8, ids, 0)
    pred = np.where(rng.random(ids.shape) < 0.5, np.roll(ids, seed % 3, axis=1), 0)
    spread = 10_000_019 if seed % 2 else 61
    truth, pred = (truth * spread).astype(np.uint64), (pred * 7).astype(np.uint32)
    assert len(np.unique(truth)) > 256
    assert len(np.unique(pred)) > 256
    assert_equal_to_reference([(pred, truth)])


@pytest.mark.parametrize("seed", range(4))
def test_large_blobs_equal_reference(seed):
    """Objects whose boxes overlap in more pixels than the search tree is asked for: the distance transform's way."""
    rng = np.random.default_rng(seed)
    ring = box((150, 150), (2, 2, 146, 146, 1), (6 + seed, 6, 138, 138, 0), (40, 40, 12, 10 + seed, 2))
    blob = box((150, 150), (8, 8, 130, 120 + seed, 9))
    blob[rng.random(blob.shape) < 0.02] = 0
    assert_equal_to_reference([(ring[::2, ::2], blob[::2, ::2])])
    fast = score_image(ring, blob)  # too many pixels for the reference's full table: one direct check instead
    inner = np.argwhere(blob > 0)
    outline = np.argwhere(ring == 1)
    nearest = [np.sqrt(((outline - point) ** 2).sum(axis=1).min()) for point in inner]
    back = [np.sqrt(((inner - point) ** 2).sum(axis=1).min()) for point in outline]
    assert fast.pred.hausdorff[0] == pytest.approx(max(*nearest, *back), abs=TOLERANCE)


# --- by hand --------------------------------------------------------------------------------------------------------


def test_half_covered_is_no_hit():
    pred, truth = box((10, 10), (0, 2, 4, 4, 1)), box((10, 10), (0, 0, 4, 4, 1))
    scores = pool([score_image(pred, truth)])
    assert (scores.object_f1, scores.object_dice, scores.object_hausdorff) == (0.0, 0.5, 2.0)
    assert (scores.pixel_dice, scores.pixel_iou) == (0.5, 8 / 24)
    assert (scores.n_true_positives, scores.n_false_positives, scores.n_false_negatives) == (0, 1, 1)


def test_three_quarters_covered_is_a_hit():
    pred, truth = box((10, 10), (0, 1, 4, 4, 1)), box((10, 10), (0, 0, 4, 4, 1))
    assert (object_f1(pred, truth), object_dice(pred, truth), object_hausdorff(pred, truth)) == (1.0, 0.75, 1.0)


def test_coverage_is_of_the_true_object_not_iou():
    pred, truth = box((20, 20), (0, 0, 20, 20, 1)), box((20, 20), (5, 5, 3, 3, 1))
    assert object_f1(pred, truth) == 1.0
    assert object_f1(truth, pred) == 0.0


def test_background_never_wins_the_partnership():
    pred, truth = box((10, 10), (0, 0, 10, 10, 1)), box((10, 10), (0, 0, 1, 1, 4))
    assert object_dice(pred, truth) == pytest.approx(2 / 101)


def test_hausdorff_is_attained_inside_an_object():
    """The middle of a filled square is 5 from the ring around it; the square's own outline only 1."""
    ring = box((11, 11), (0, 0, 11, 11, 1), (1, 1, 9, 9, 0))
    square = box((11, 11), (1, 1, 9, 9, 1))
    assert object_hausdorff(ring, square) == 5.0


def test_holes_are_not_filled():
    full = box((11, 11), (1, 1, 9, 9, 1))
    holed = box((11, 11), (1, 1, 9, 9, 1), (3, 3, 5, 5, 0))
    assert object_hausdorff(full, holed) == 3.0
    assert object_dice(full, holed) == pytest.approx(2 * 56 / (56 + 81))


def test_equal_overlaps_go_to_the_lowest_label():
    truth = box((4, 12), (0, 0, 4, 2, 30), (0, 2, 4, 6, 2))
    pred = box((4, 12), (0, 0, 4, 4, 1))  # 8 pixels of each
    scores = score_image(pred, truth)
    assert scores.pred.dice.tolist() == [2 * 8 / (16 + 24)]
    assert scores.n_partner_ties == 1
    other_order = score_image(pred, np.where(truth == 2, 99, truth))
    assert other_order.pred.dice.tolist() == [2 * 8 / (16 + 8)]


def test_without_overlap_the_nearest_object_counts():
    pred = box((30, 30), (5, 5, 1, 1, 1))
    truth = box((30, 30), (5, 8, 1, 1, 2), (9, 5, 1, 1, 1), (25, 25, 2, 2, 3))
    scores = score_image(pred, truth)
    assert scores.pred.hausdorff.tolist() == [3.0]
    assert scores.truth.hausdorff.tolist() == [4.0, 3.0, math.hypot(21, 21)]
    assert scores.hausdorff_nearest_fallbacks == 4
    assert object_f1(pred, truth) == object_dice(pred, truth) == 0.0


def test_both_empty_is_perfect():
    empty = np.zeros((5, 7), np.uint8)
    scores = pool([score_image(empty, empty)])
    assert [getattr(scores, name) for name in FIGURES] == [1.0, 1.0, 0.0, 1.0, 1.0]
    assert (scores.n_images_empty_truth, scores.n_images_empty_pred) == (1, 1)


@pytest.mark.parametrize("flipped", [False, True])
def test_one_side_empty_counts_the_diagonal(flipped):
    maps = [np.zeros((30, 40), np.uint8), box((30, 40), (3, 3, 5, 5, 1), (20, 20, 2, 2, 2))]
    scores = pool([score_image(*(maps[::-1] if flipped else maps))])
    assert [getattr(scores, name) for name in FIGURES] == [0.0, 0.0, 50.0, 0.0, 0.0]
    assert scores.hausdorff_diagonal_fallbacks == 2
    assert (scores.n_images_empty_pred, scores.n_images_empty_truth) == ((0, 1) if flipped else (1, 0))


def test_empty_image_beside_another_counts_by_area():
    """True objects of 16 and 48 pixels; the second has no prediction in its 6x8 image: (16·0 + 48·10)/64 = 7.5."""
    first, second = box((6, 8), (0, 0, 4, 4, 1)), box((6, 8), (0, 0, 6, 8, 1))
    scores = pool([score_image(first, first), score_image(np.zeros_like(second), second)])
    assert scores.object_hausdorff == (0 + 7.5) / 2
    assert scores.object_dice == (1 + 0.25) / 2
    assert scores.object_f1 == 2 / 3


def test_pooled_is_not_the_mean():
    large, small = box((20, 20), (0, 0, 20, 20, 1)), box((20, 20), (0, 0, 2, 2, 1))
    missed = np.roll(small, 10, axis=1)
    images = [score_image(large, large), score_image(missed, small)]
    assert pool(images).object_dice == 400 / 404
    assert image_means(images)["object_dice"] == 0.5


def test_unknown_pixels_leave_both_sides():
    truth = box((10, 10), (0, 0, 4, 4, 1), (0, 2, 4, 2, -1), (6, 6, 3, 3, -1))
    pred = box((10, 10), (0, 0, 4, 4, 1), (6, 6, 3, 3, 2))
    scores = pool([score_image(pred, truth)])
    assert (scores.object_f1, scores.object_dice, scores.object_hausdorff) == (1.0, 1.0, 0.0)
    assert (scores.n_objects_pred, scores.n_pixels_unknown) == (1, 17)


def test_labels_beyond_a_byte_stay_apart():
    truth = np.arange(400, dtype=np.uint16).reshape(20, 20)
    assert pool([score_image(truth, truth)]).n_objects_truth == 399
    assert object_f1(truth, truth) == object_dice(truth, truth) == 1.0


def test_nothing_to_pool():
    assert all(pool([]).as_dict()[name] is None for name in FIGURES)
    assert set(image_means([]).values()) == {None}
    no_pixels = np.zeros((0, 4), np.uint8)
    assert object_f1(no_pixels, no_pixels) == 1.0


@pytest.mark.parametrize(
    ("pred", "truth", "reason"),
    [
        (np.zeros((3, 4), int), np.zeros((4, 3), int), "truth is"),
        (np.zeros((3, 4, 1), int), np.zeros((3, 4), int), "dimensions"),
        (np.zeros((3, 4)), np.zeros((3, 4), int), "float64"),
        (np.full((3, 4), -1), np.zeros((3, 4), int), "negative"),
        (np.zeros((3, 4), int), np.full((3, 4), -2), "negative"),
    ],
)
def test_unusable_arrays(pred, truth, reason):
    with pytest.raises(ValueError, match=reason):
        score_image(pred, truth)


# --- invariances ----------------------------------------------------------------------------------------------------


def figures(pred, truth):
    scores = pool([score_image(pred, truth)])
    return [getattr(scores, name) for name in FIGURES]


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(label_map_pairs())
def test_flips_and_transposition_change_nothing(pair):
    expected = figures(*pair)
    for turn in (np.flipud, np.fliplr, np.transpose, np.rot90):
        assert figures(*map(turn, pair)) == pytest.approx(expected, abs=TOLERANCE)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(label_map_pairs(), st.randoms(use_true_random=False))
def test_without_ties_relabelling_changes_nothing(pair, random):
    pred, truth = pair
    if score_image(pred, truth).n_partner_ties:
        return
    names = random.sample(range(1, 100_000), 256)
    lookup = np.array([0, *names[1:], -1])  # the last entry is what -1 looks up
    assert figures(lookup[pred.astype(int)], lookup[truth.astype(int)]) == pytest.approx(
        figures(pred, truth), abs=TOLERANCE
    )


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(label_map_pairs())
def test_exchanging_the_sides_changes_only_f1(pair):
    pred, truth = pair[0], np.maximum(pair[1], 0)
    assert figures(truth, pred)[1:] == pytest.approx(figures(pred, truth)[1:], abs=TOLERANCE)


def test_inputs_are_not_modified():
    pred, truth = box((9, 9), (0, 0, 4, 4, 1)), box((9, 9), (1, 1, 4, 4, 1), (6, 6, 2, 2, -1))
    before = pred.copy(), truth.copy()
    score_image(pred, truth)
    assert np.array_equal(pred, before[0])
    assert np.array_equal(truth, before[1])


def test_real_glands_equal_reference():
    """Two true GlaS maps, thinned eightfold for the reference, against a shifted and merged copy."""
    data = Path(os.environ.get("FRUGALSEG_DATA", Path(__file__).parents[2] / "shared" / "data")) / "glas" / "testA"
    if not data.is_dir():
        pytest.skip(f"no GlaS images in {data} (set FRUGALSEG_DATA)")
    from frugalseg.images.labels import read_label_map

    truths = [read_label_map(data / f"testA_{n}_anno.png")[::8, ::8] for n in (1, 33)]
    assert_equal_to_reference([((np.roll(truth, 1, axis=1) + 1) // 2, truth) for truth in truths])


def test_scores_as_numbers_pool_to_the_same_figures():
    rng = np.random.default_rng(3)
    images = [score_image(rng.integers(0, 5, (30, 30)), rng.integers(0, 5, (30, 30))) for _ in range(4)]
    images += [score_image(np.zeros((9, 9), int), np.ones((9, 9), int)), score_image(*[np.zeros((9, 9), int)] * 2)]
    again = [ImageScores.from_list(image.as_list()) for image in images]
    assert pool(again).as_dict() == pool(images).as_dict()
    assert pool([again[0]] * 2 + again[3:]).as_dict() == pool([images[0]] * 2 + images[3:]).as_dict()
    with pytest.raises(ValueError, match="numbers"):
        ImageScores.from_list([1.0, 2.0])
