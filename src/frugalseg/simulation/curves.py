"""From a ledger of simulated rounds to learning curves, their differences, and how sure those are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frugalseg.errors import InputError
from frugalseg.metrics import pooled

BASELINE = "random"
N_DRAWS = 1000
LEVEL = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """What a strategy reached at each budget with each seed.

    Attributes
    ----------
    budgets
        Annotated images, rising, length B.
    seeds
        Length S.
    scores
        ``ImageScores.as_list`` of each test image, shape (S, B, N, K), images in one order for all curves.
    objects, outline_px
        Annotation cost by seed and budget, shape (S, B).
    """

    name: str
    budgets: tuple[int, ...]
    seeds: tuple[int, ...]
    scores: Floats
    objects: Floats
    outline_px: Floats

    def figures(self, figure: str) -> Floats:
        """A pooled figure by seed and budget, shape (S, B)."""
        return pooled(self.scores.sum(axis=2), figure)


def read_curves(cells: Sequence[tuple[dict[str, Any], dict[str, Any]]], start: str, folder: Path) -> list[Curve]:
    """Curves from the keys and results of the ledger in `folder`; strategies that lack a cell of a seed lack that seed.

    Raises
    ------
    InputError
        Cells of different data or settings lie in one ledger, or were scored on different images.
    """
    kinds = {tuple(sorted((name, key[name]) for name in key if name not in VARYING)) for key, _ in cells}
    if len(kinds) > 1:
        raise InputError(folder, "holds cells of different data, settings or devices, which cannot be compared")
    images = {tuple(sorted(result["scores"])) for _, result in cells}
    if len(images) > 1:
        raise InputError(folder, "holds cells that were scored on different images")
    found = {(key["strategy"], key["seed"], key["budget"]): result for key, result in cells}
    budgets = sorted({budget for _, _, budget in found})
    curves = []
    for name in sorted({name for name, _, _ in found} - {start}):
        own = [budget for budget in budgets if any((name, seed, budget) in found for _, seed, _ in found)]
        shared = [] if budgets[0] in own else budgets[:1]
        wanted = [*shared, *own]
        rows = {}
        for seed in sorted({seed for _, seed, _ in found}):
            keys = [(start if budget in shared else name, seed, budget) for budget in wanted]
            if all(key in found for key in keys):
                rows[seed] = [found[key] for key in keys]
        if rows:
            curves.append(_curve(name, wanted, rows))
    return curves


VARYING = ("strategy", "seed", "budget")


def _curve(name: str, budgets: Sequence[int], rows: dict[int, list[dict[str, Any]]]) -> Curve:
    scores = np.array(
        [
            [[values for _, values in sorted(result["scores"].items())] for result in results]
            for results in rows.values()
        ],
        dtype=float,
    )
    costs = {
        part: np.array([[float(result[part]) for result in results] for results in rows.values()])
        for part in ("n_objects", "outline_px")
    }
    return Curve(name, tuple(budgets), tuple(rows), scores, costs["n_objects"], costs["outline_px"])


def area_under(budgets: Sequence[int], values: Floats) -> Floats:
    """Mean height of straight lines through (budget, value), for each row of `values` (…, B)."""
    if len(budgets) < 2:
        return np.asarray(values[..., 0], dtype=np.float64)
    x = np.asarray(budgets, dtype=np.float64)
    return np.asarray(np.trapezoid(values, x, axis=-1) / (x[-1] - x[0]), dtype=np.float64)


def saved_share(budgets: Sequence[int], curve: Sequence[float], baseline: Sequence[float], at: int) -> float:
    """Share of annotation that `curve` saves at place `at` against a baseline that reaches the same value later.

    The baseline is taken as straight lines between its budgets. Negative where it gets there with less; NaN beyond its
    ends, where nothing is known.
    """
    value = curve[at]
    for place in range(len(budgets) - 1):
        low, high = baseline[place], baseline[place + 1]
        if min(low, high) <= value <= max(low, high) and low != high:
            needed = budgets[place] + (value - low) / (high - low) * (budgets[place + 1] - budgets[place])
            return 1 - budgets[at] / needed
    return math.nan


@dataclass(frozen=True)
class Comparison:
    """A strategy against the baseline: differences of a figure, each with the ends of its interval.

    Attributes
    ----------
    by_budget
        (budget, difference, low, high).
    area
        Of the areas under the curves: difference, low, high.
    saved
        At each budget within: share of annotation saved, low, high; NaN where nothing is known.
    n_seeds
        Seeds that both have.
    """

    name: str
    n_seeds: int
    by_budget: tuple[tuple[int, float, float, float], ...]
    area: tuple[float, float, float]
    saved: tuple[tuple[int, float, float, float], ...]

    @property
    def verdict(self) -> str:
        """Whether the area under its curve is above the baseline's, as far as the interval tells."""
        _, low, high = self.area
        word = "better" if low > 0 else "worse" if high < 0 else "not told apart"
        return f"{word} in the only seed" if self.n_seeds == 1 and low * high > 0 else word


def compare(curve: Curve, baseline: Curve, *, figure: str = "object_dice", seed: int = 0) -> Comparison:
    """Paired bootstrap over test images and seeds: both curves see the same draws.

    Raises
    ------
    ValueError
        They have no seed or no budget in common.
    """
    seeds = [each for each in curve.seeds if each in baseline.seeds]
    budgets = [each for each in curve.budgets if each in baseline.budgets]
    if not seeds or not budgets:
        raise ValueError(f"{curve.name} and {baseline.name} have nothing in common")

    def chosen(of: Curve) -> Floats:
        rows, columns = [of.seeds.index(each) for each in seeds], [of.budgets.index(each) for each in budgets]
        return np.asarray(of.scores[np.ix_(rows, columns)])

    sides = (chosen(curve), chosen(baseline))
    plain = tuple(pooled(scores.sum(axis=2), figure) for scores in sides)
    drawn = _draw(sides, figure, seed)
    gains = drawn[0].mean(axis=1) - drawn[1].mean(axis=1)
    areas = (area_under(budgets, drawn[0]) - area_under(budgets, drawn[1])).mean(axis=1)
    gain = plain[0].mean(axis=0) - plain[1].mean(axis=0)
    area = float(np.mean(area_under(budgets, plain[0]) - area_under(budgets, plain[1])))
    return Comparison(
        name=curve.name,
        n_seeds=len(seeds),
        by_budget=tuple((budget, float(gain[at]), *_interval(gains[:, at])) for at, budget in enumerate(budgets)),
        area=(area, *_interval(areas)),
        saved=tuple(_saved(budgets, plain, drawn, at) for at in range(1, len(budgets))),
    )


def _draw(sides: Sequence[Floats], figure: str, seed: int) -> list[Floats]:
    """Figures of both sides with test images and seeds drawn again, the same for both, each (draws, S, B)."""
    n_seeds, _, n_images, _ = sides[0].shape
    rng = np.random.default_rng(seed)
    times = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=N_DRAWS).astype(float)
    rows = rng.integers(0, n_seeds, (N_DRAWS, n_seeds))
    result = []
    for scores in sides:
        figures = pooled(np.einsum("rn,sbnk->rsbk", times, scores), figure)
        result.append(np.take_along_axis(figures, rows[:, :, None], axis=1))
    return result


def _saved(
    budgets: Sequence[int], plain: Sequence[Floats], drawn: Sequence[Floats], at: int
) -> tuple[int, float, float, float]:
    def share(ours: Floats, theirs: Floats) -> float:
        return saved_share(budgets, list(ours.mean(axis=0)), list(theirs.mean(axis=0)), at)

    shares = np.array([share(ours, theirs) for ours, theirs in zip(*drawn, strict=True)])
    known = shares[np.isfinite(shares)]
    # where many draws lie beyond the baseline's ends, an interval of the others would look surer than it is
    ends = _interval(known) if len(known) > 0.9 * len(shares) else (math.nan, math.nan)
    return (budgets[at], share(plain[0], plain[1]), *ends)


def _interval(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
