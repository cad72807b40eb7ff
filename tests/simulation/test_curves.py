"""Curves, differences and intervals, against numbers worked out by hand and against the plain pooling."""

import math
from pathlib import Path

import numpy as np
import pytest

from frugalseg.errors import InputError
from frugalseg.metrics import ImageScores, pool, pooled, score_image
from frugalseg.simulation.curves import Curve, area_under, compare, read_curves, saved_share
from frugalseg.simulation.report import summarise

LEDGER = Path("ledger-of-mine")


def statistics(n: int, quality: float, rng: np.random.Generator) -> list[list[float]]:
    """Scores of images whose objects are found but for a random share of their pixels."""
    result = []
    for _ in range(n):
        truth = np.zeros((24, 24), dtype=np.int32)
        truth[2:10, 2:10], truth[12:22, 12:22] = 1, 2
        found = np.where(rng.random(truth.shape) < quality, truth, 0)
        result.append(score_image(found, truth).as_list())
    return result


def cell(name, seed, budget, scores, **key):
    result = {"scores": {f"i{n}": row for n, row in enumerate(scores)}, "n_objects": 2 * budget, "outline_px": 9.0}
    return {
        "data": "d",
        "settings": "s",
        "device": "cpu",
        "strategy": name,
        "seed": seed,
        "budget": budget,
        **key,
    }, result


def game(quality: dict[str, list[float]], n_images: int = 12, seeds: int = 2):
    rng = np.random.default_rng(0)
    cells = []
    for seed in range(seeds):
        cells.append(cell("start", seed, 4, statistics(n_images, 0.5, rng)))
        for name, values in quality.items():
            cells += [
                cell(name, seed, 8 * (at + 1), statistics(n_images, value, rng)) for at, value in enumerate(values)
            ]
    return read_curves(cells, "start", LEDGER)


@pytest.mark.parametrize("figure", ["object_f1", "object_dice", "object_hausdorff"])
def test_figures_of_sums_are_those_of_pooling(figure):
    rng = np.random.default_rng(1)
    images = [score_image(rng.integers(0, 4, (16, 16)), rng.integers(0, 4, (16, 16))) for _ in range(5)]
    images += [score_image(np.zeros((9, 9), int), np.ones((9, 9), int)), score_image(*[np.zeros((9, 9), int)] * 2)]
    for chosen in (images, images[:2], images[5:], images[6:]):
        totals = np.sum([image.as_list() for image in chosen], axis=0)
        again = pool([ImageScores.from_list(image.as_list()) for image in chosen])
        assert float(pooled(totals, figure)) == pytest.approx(getattr(again, figure))


def test_the_first_budget_is_common():
    curves = {curve.name: curve for curve in game({"random": [0.6, 0.7], "cover": [0.8, 0.9]})}
    assert curves["random"].budgets == curves["cover"].budgets == (4, 8, 16)
    first = [curve.figures("object_dice")[:, 0] for curve in curves.values()]
    assert np.array_equal(first[0], first[1])


def test_a_strategy_that_finds_more_is_better_and_the_reverse_worse():
    curves = {curve.name: curve for curve in game({"random": [0.6, 0.7], "good": [0.8, 0.9], "bad": [0.5, 0.55]})}
    good, bad = (compare(curves[name], curves["random"]) for name in ("good", "bad"))
    assert (good.verdict, bad.verdict) == ("better", "worse")
    assert good.by_budget[0][1:] == (0, 0, 0)
    for _, gain, low, high in good.by_budget[1:]:
        assert 0 < low <= gain <= high


def test_one_seed_shows_nothing_of_others():
    curves = {curve.name: curve for curve in game({"random": [0.6, 0.7], "good": [0.8, 0.9]}, seeds=1)}
    found = compare(curves["good"], curves["random"])
    assert found.verdict == "better in the only seed"
    summary = summarise(list(curves.values()), [found])
    assert summary["curves"]["good"]["object_dice"]["sd"] == [None] * 3


def test_a_strategy_like_the_baseline_is_not_told_apart():
    curves = {curve.name: curve for curve in game({"random": [0.6, 0.7], "same": [0.6, 0.7]})}
    assert compare(curves["same"], curves["random"]).verdict == "not told apart"


def test_area_and_saving_by_hand():
    assert area_under([0, 10, 20], np.array([0.0, 1.0, 1.0])) == pytest.approx(0.75)
    assert area_under([5], np.array([[0.3], [0.4]])).tolist() == [0.3, 0.4]
    # the baseline reaches .8 halfway between 10 and 20: ten images instead of fifteen
    assert saved_share([5, 10, 20], [0.5, 0.8, 0.9], [0.5, 0.7, 0.9], 1) == pytest.approx(1 / 3)
    assert saved_share([5, 10, 20], [0.5, 0.6, 0.9], [0.5, 0.7, 0.9], 1) == pytest.approx(1 - 10 / 7.5)
    assert math.isnan(saved_share([5, 10], [0.5, 0.99], [0.5, 0.9], 1))


def test_unequal_cells_are_not_paired():
    cells = [cell("start", 0, 4, statistics(3, 0.5, np.random.default_rng(0)))]
    with pytest.raises(InputError, match=r"ledger-of-mine: .*different data, settings or devices"):
        read_curves(
            [*cells, cell("random", 0, 8, statistics(3, 0.5, np.random.default_rng(0)), device="cuda")], "start", LEDGER
        )
    with pytest.raises(InputError, match="different images"):
        read_curves([*cells, cell("random", 0, 8, statistics(4, 0.5, np.random.default_rng(0)))], "start", LEDGER)


def test_seeds_that_lack_a_cell_are_left_out():
    rng = np.random.default_rng(0)
    cells = [cell("start", seed, 4, statistics(3, 0.5, rng)) for seed in (0, 1)]
    cells += [cell("random", 0, 8, statistics(3, 0.6, rng))]
    (curve,) = read_curves(cells, "start", LEDGER)
    assert isinstance(curve, Curve)
    assert curve.seeds == (0,)
