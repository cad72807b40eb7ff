"""Greedy maximum cover: the plain greedy's choice, the bound of Nemhauser, and images that represent nothing."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from frugalseg.suggest import cover as module
from frugalseg.suggest import coverage, greedy_cover, similarity


def plain_greedy(descriptors: NDArray[np.float64], candidates: list[int], k: int) -> list[int]:
    """The definition, term by term."""
    chosen: list[int] = []
    while len(chosen) < min(k, len(candidates)):
        left = [index for index in candidates if index not in chosen]
        chosen.append(max(left, key=lambda index: coverage(descriptors, [*chosen, index])))
    return chosen


def descriptors_of(seed: int, n: int, width: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, (n, width)) + rng.normal(0, 1, (3, width))[rng.integers(0, 3, n)] * 2


def test_similarity_is_cosine_cut_off_at_zero() -> None:
    left, right = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[3.0, 4.0], [-3.0, -4.0], [4.0, -3.0], [0.0, 2.0]])
    np.testing.assert_allclose(similarity(left, right), [[1, 0, 0, 0.8], [0, 0, 0, 0]], atol=1e-7)


def test_hand_computed_choice() -> None:
    """Two groups and an outlier: first the inner one of the larger group, then the first of two that are as good."""
    angles = np.radians([0, 10, 20, 90, 95, 200])
    descriptors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    chosen = greedy_cover(descriptors, range(6), 3)
    assert [index for index, _ in chosen] == [2, 3, 5]
    row = np.cos(angles - angles[2]).clip(0)
    assert chosen[0][1] == pytest.approx(row.sum(), rel=1e-6)
    assert sum(gain for _, gain in chosen) == pytest.approx(coverage(descriptors, [2, 3, 5]), rel=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 14), st.integers(1, 5), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_choice_is_the_plain_greedys_and_above_the_bound(seed: int, n: int, k: int, width: int) -> None:
    descriptors = descriptors_of(seed, n, width)
    candidates = list(np.random.default_rng(seed).permutation(n)[: max(1, n - 2)])
    found = [index for index, _ in greedy_cover(descriptors, candidates, k)]
    reference = plain_greedy(descriptors, candidates, k)
    ours, theirs = coverage(descriptors, found), coverage(descriptors, reference)
    assert len(found) == len(set(found)) == min(k, len(candidates))
    assert ours == pytest.approx(theirs, rel=1e-5)
    best = max(coverage(descriptors, list(each)) for each in combinations(candidates, min(k, len(candidates))))
    assert ours >= (1 - 1 / np.e) * best - 1e-6


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_blocks_and_forgetting_change_nothing(seed: int) -> None:
    descriptors = descriptors_of(seed, 40, 8)
    wanted = greedy_cover(descriptors, range(40), 7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", 1000)
        patch.setattr(module, "KEPT_BYTES", 0)
        found = greedy_cover(descriptors, range(40), 7)
    ours, theirs = (coverage(descriptors, [index for index, _ in chosen]) for chosen in (found, wanted))
    assert ours == pytest.approx(theirs, rel=1e-6)  # not the places: rounding decides between equally good ones


def test_what_is_covered_already_gains_nothing() -> None:
    descriptors = np.eye(4)
    chosen = greedy_cover(descriptors, range(4), 2, covered_by=descriptors[:2])
    assert [index for index, _ in chosen] == [2, 3]
    assert greedy_cover(descriptors, [0], 3, covered_by=descriptors[:2]) == [(0, 0.0)]
    assert greedy_cover(descriptors, [], 3) == []


def test_twins_and_rows_of_zeros() -> None:
    descriptors = np.array([[1.0, 0], [1, 0], [1, 0], [0, 0], [0, 1]])
    assert [index for index, _ in greedy_cover(descriptors, range(5), 3)] == [0, 4, 1]
