"""What tells true objects from false ones: numbers of each object by hand, the fit by its properties."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frugalseg.instances import InstanceSettings, object_confidences, separate
from frugalseg.metrics import score_image, true_objects
from frugalseg.rejector import (
    FEATURES,
    KEEP_ALL,
    Candidates,
    Rejector,
    best_threshold,
    fit_rejector,
    object_features,
)

BY_MEAN = Rejector((0, 0, 40.0, 0, 0, 0, 0), -30.0, 0.5)
"""Keeps objects with a mean foreground probability above 0.75."""


def maps(front: np.ndarray, border: np.ndarray | None = None) -> np.ndarray:
    front = front.astype(np.float32)
    return np.stack([1 - front, front, np.zeros_like(front) if border is None else border.astype(np.float32)])


def test_features_by_hand() -> None:
    labels = np.zeros((12, 12), dtype=np.int32)
    labels[2:9, 3:10] = 1  # 49 pixels, the inner 3 x 3 more than two pixels from the outline
    labels[0, 0:2] = 2
    front, border = np.full((12, 12), 0.25), np.zeros((12, 12))
    front[2:9, 3:10] = 0.5
    front[2, 3:10] = 1.0
    border[4:7, 5:8] = 0.8
    border[2, 3] = 0.4
    found = dict(zip(FEATURES, object_features(labels, maps(front, border))[0], strict=True))
    assert found["log_area"] == pytest.approx(math.log(49))
    assert found["cut"] == 0
    assert found["mean"] == pytest.approx((42 * 0.5 + 7) / 49)
    assert found["low"] == pytest.approx(0.5)
    assert found["rim_border"] == pytest.approx(0.4 / 40, abs=1e-7)
    assert found["border"] == pytest.approx((9 * 0.8 + 0.4) / 49)
    assert found["sure"] == pytest.approx(7 / 49)
    cut = dict(zip(FEATURES, object_features(labels, maps(front, border))[1], strict=True))
    assert (cut["log_area"], cut["cut"], cut["mean"], cut["sure"]) == pytest.approx((math.log(2), 1, 0.25, 0))


def test_where_the_image_ends_an_object_has_no_rim() -> None:
    labels = np.ones((9, 9), dtype=np.int32)
    labels[:, 6:] = 0
    border = np.zeros((9, 9))
    border[:, 4:6] = 1.0
    found = dict(zip(FEATURES, object_features(labels, maps(np.ones((9, 9)), border))[0], strict=True))
    assert (found["rim_border"], found["border"]) == pytest.approx((1.0, 1 / 3))


def test_an_object_that_fills_the_image_is_all_rim() -> None:
    border = np.zeros((6, 5))
    border[:3] = 1.0
    assert object_features(np.ones((6, 5), np.int32), maps(np.ones((6, 5)), border))[0, 4:6] == pytest.approx(
        [0.5, 0.5]
    )


def test_no_object_gives_no_row() -> None:
    assert object_features(np.zeros((4, 5), np.int32), maps(np.zeros((4, 5)))).shape == (0, len(FEATURES))


def candidates(n: int, seed: int, missed: int = 0) -> Candidates:
    """Objects that are true with a known probability, which two features tell."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, len(FEATURES))) * [2, 0, 0.1, 1, 3, 0.5, 1]
    chance = 1 / (1 + np.exp(-(features[:, 0] + 20 * features[:, 2] + 0.5)))
    are_true = rng.random(n) < chance
    return Candidates(features, are_true, int(are_true.sum()) + missed)


def test_the_fit_finds_what_makes_objects_true() -> None:
    data = candidates(20_000, 0)
    rejector = fit_rejector(data)
    weights = dict(zip(FEATURES, rejector.weights, strict=True))
    assert weights["log_area"] == pytest.approx(1, rel=0.05)
    assert weights["mean"] == pytest.approx(20, rel=0.05)
    assert weights["cut"] == 0
    assert rejector.bias == pytest.approx(0.5, abs=0.1)
    assert max(abs(weights[name]) for name in ("low", "rim_border", "sure")) < 0.1
    # with a free intercept the probabilities of a logistic regression sum to the number of true objects
    assert rejector.probabilities(data.features).sum() == pytest.approx(data.are_true.sum(), rel=1e-4)
    others = candidates(20_000, 1)
    chance = rejector.probabilities(others.features)
    for low, high in pairwise((0, 0.2, 0.4, 0.6, 0.8, 1)):
        chosen = (chance >= low) & (chance < high)
        assert others.are_true[chosen].mean() == pytest.approx(chance[chosen].mean(), abs=0.03)


@given(
    probabilities=st.lists(st.floats(0.01, 1), min_size=1, max_size=12),
    missed=st.integers(0, 5),
)
def test_the_threshold_has_the_highest_expected_f1(probabilities: list[float], missed: int) -> None:
    n_true = max(1, round(sum(probabilities)) + missed)
    chances = np.array(probabilities)

    def expected(kept: np.ndarray) -> float:
        return 2 * chances[kept].sum() / (kept.sum() + n_true) if kept.any() else 0.0

    best = max(expected(chances >= each) for each in chances)
    assert expected(chances > best_threshold(chances, n_true)) >= min(best, 1) - 1e-9


def test_a_feature_that_hardly_varies_has_no_say() -> None:
    data = candidates(500, 4)
    features = data.features.copy()
    features[:, 1] = 0.1 + 1e-12 * np.random.default_rng(0).normal(size=500)
    rejector = fit_rejector(Candidates(features, data.are_true, data.n_true))
    assert abs(rejector.weights[1]) < 1e-6


def test_missed_objects_lower_the_threshold() -> None:
    assert fit_rejector(candidates(500, 2, missed=300)).threshold < fit_rejector(candidates(500, 2)).threshold <= 0.5


def test_too_few_objects_are_said() -> None:
    few = candidates(60, 3)
    few = Candidates(few.features, np.arange(60) < 7, 7)
    with pytest.raises(ValueError, match="7 true and 53 false objects; 20 of each are needed"):
        fit_rejector(few)


@pytest.mark.parametrize(
    ("weights", "bias", "threshold"),
    [((0.0,) * 6, 0, 0.5), ((math.nan,) * 7, 0, 0.5), ((0.0,) * 7, math.inf, 0.5), ((0.0,) * 7, 0, 1.5)],
)
def test_impossible_rejectors(weights: tuple[float, ...], bias: float, threshold: float) -> None:
    with pytest.raises(ValueError, match="rejector"):
        Rejector(weights, bias, threshold)


def doubtful() -> np.ndarray:
    """A sure object, a doubtful large one, a sure but small one."""
    front = np.zeros((40, 60))
    front[5:20, 5:20] = 0.99
    front[5:35, 30:55] = 0.6
    front[30:33, 5:8] = 0.99
    return maps(front)


def test_objects_are_judged_and_get_a_probability() -> None:
    plain = InstanceSettings(min_area=16, min_confidence=0.8)
    before = separate(doubtful(), plain)
    assert before.max() == 2  # large ones are kept however doubtful they are, 9 pixels are debris
    judged = replace(plain, rejector=BY_MEAN)
    after = separate(doubtful(), judged)
    assert after.max() == 2  # the doubtful one is gone; 9 pixels are more than half of the debris size
    assert after[10, 10] == 1
    assert after[31, 6] == 2
    assert not after[:, 30:].any()
    confidences = object_confidences(after, doubtful(), BY_MEAN)
    assert confidences == pytest.approx(dict.fromkeys((1, 2), 1 / (1 + math.exp(30 - 39.6))))
    assert separate(doubtful(), replace(plain, rejector=KEEP_ALL)).max() == 3


def test_settings_survive_json() -> None:
    settings = InstanceSettings(0.4, 0.9, 0.6, 20, 0.8, BY_MEAN)
    document = settings.to_document()
    assert document["rejector"] == {"weights": [0, 0, 40.0, 0, 0, 0, 0], "bias": -30.0, "threshold": 0.5}
    assert InstanceSettings.from_document(document) == settings
    assert settings.debris_area == 10
    del document["rejector"]  # as models had it before there were rejectors
    plain = InstanceSettings.from_document(document)
    assert (plain.rejector, plain.debris_area) == (None, 20)
    for damaged in ([], None, "x", 3, {"rejector": {"weights": "1234567", "bias": 0, "threshold": 0}}, {"rejector": 1}):
        with pytest.raises((TypeError, ValueError, KeyError)):
            InstanceSettings.from_document(damaged)


def test_a_rejector_cuts_objects_apart_as_ever() -> None:
    """A second core of 16 pixels is too small to split an object, whether or not a rejector looks at the pieces."""
    front = np.zeros((60, 80))
    front[10:50, 10:60] = 0.9
    border = np.zeros((60, 80))
    border[10:50, 20:60] = 0.95
    border[28:32, 40:44] = 0.0
    plain = InstanceSettings(min_area=100)
    assert separate(maps(front, border), plain).max() == 1
    assert separate(maps(front, border), replace(plain, rejector=KEEP_ALL)).max() == 1


def test_true_objects_are_those_that_f1_counts() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth = np.kron(rng.integers(0, 5, (6, 6)), np.ones((5, 5), int)).astype(np.int32)
        pred = np.roll(truth, rng.integers(-3, 4, 2), (0, 1))
        pred = np.unique(pred, return_inverse=True)[1].reshape(pred.shape).astype(np.int32)
        are_true, known, n_true = true_objects(pred, truth)
        scores = score_image(pred, truth)
        assert (are_true.sum(), n_true, known.all()) == (scores.n_true_positives, len(np.unique(truth)) - 1, True)


def test_objects_that_nobody_looked_at_are_not_judged() -> None:
    truth = np.zeros((10, 20), dtype=np.int32)
    truth[:, 10:] = -1
    truth[2:6, 2:6] = 1
    pred = np.zeros((10, 20), dtype=np.int32)
    pred[2:6, 2:6] = 1
    pred[2:6, 8:13] = 2  # three of five columns unknown
    pred[7:9, 7:11] = 3
    are_true, known, n_true = true_objects(pred, truth)
    assert (are_true.tolist(), known.tolist(), n_true) == ([True, False, False], [True, False, True], 1)
