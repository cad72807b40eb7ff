"""Differences between pairs of cells, and how sure they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from frugalseg.metrics import pooled
from frugalseg.study.reading import CellResult, Floats

N_DRAWS = 2000
LEVEL = 0.95

DISAGREEMENT = "disagreement"
LOWER_IS_BETTER = ("object_hausdorff",)

Pair = tuple[CellResult, CellResult]


@dataclass(frozen=True)
class Contrast:
    """Two values of one field of cells that are alike otherwise.

    Attributes
    ----------
    words
        What is compared with what.
    varies
        ``training``, ``selection`` or ``n_networks``.
    left, right
        Its values; the difference is left less right. For ``n_networks`` `left` may be 0: any number above one.
    only
        Values that other fields must have, each a tuple of those allowed.
    figure
        What is compared: a figure of :func:`frugalseg.metrics.pooled`, or `DISAGREEMENT`.
    """

    words: str
    varies: str
    left: str | int
    right: str | int
    only: Mapping[str, tuple[str | int, ...]] = field(default_factory=dict)
    figure: str = "object_dice"

    def pairs(self, results: Sequence[CellResult]) -> list[Pair]:
        """Results of the left value, each with its twin of the right one; those without a twin are left out."""
        by_cell = {each.cell: each for each in results}
        found = []
        for result in results:
            value = getattr(result.cell, self.varies)
            if value != self.left and not (self.left == 0 and value > 1):
                continue
            if any(getattr(result.cell, name) not in allowed for name, allowed in self.only.items()):
                continue
            twin = by_cell.get(result.cell.twin(self.varies, self.right))
            if twin is not None:
                found.append((result, twin))
        return found


@dataclass(frozen=True)
class Difference:
    """Mean difference of pairs, with the ends of its 95 % interval."""

    mean: float
    low: float
    high: float
    n_pairs: int
    n_seeds: int

    @property
    def sign(self) -> int:
        """1 or -1 where the interval excludes 0, else 0."""
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


def difference(pairs: Sequence[Pair], part: str, figure: str, *, seed: int = 0) -> Difference | None:
    """Paired bootstrap over the images of a part, and over seeds where there are several (Efron 1979).

    In each draw all pairs see the same images, and each seed's pairs count as often as the seed was drawn; with one
    seed the interval tells of images alone.

    Parameters
    ----------
    pairs
        Left and right result.
    part, figure
        Part of the data; a figure of :func:`frugalseg.metrics.pooled`, or `DISAGREEMENT`.
    seed
        Of the draws.

    Returns
    -------
    None where no pair was scored on the part.
    """
    sums, figure_of = _readers(figure)
    usable = [pair for pair in pairs if all(len(sums(each, part)) for each in pair)]
    if not usable:
        return None
    sides = [np.stack([sums(pair[side], part) for pair in usable]) for side in (0, 1)]  # each (P, N, K)
    seeds = np.array([left.cell.seed for left, _ in usable])
    n_images = sides[0].shape[1]
    rng = np.random.default_rng(seed)
    times = rng.multinomial(n_images, np.full(n_images, 1 / n_images), size=N_DRAWS).astype(float)
    known = np.unique(seeds)
    drawn = rng.multinomial(len(known), np.full(len(known), 1 / len(known)), size=N_DRAWS).astype(float)
    weights = drawn[:, np.searchsorted(known, seeds)]  # (draws, P)
    gains = [figure_of(np.einsum("rn,pnk->rpk", times, side)) for side in sides]
    means = (weights * (gains[0] - gains[1])).sum(axis=1) / weights.sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    plain = [figure_of(side.sum(axis=1)) for side in sides]
    return Difference(float((plain[0] - plain[1]).mean()), float(low), float(high), len(usable), len(known))


def _readers(figure: str) -> tuple[Callable[[CellResult, str], Floats], Callable[[Floats], Floats]]:
    """What is summed over images, shape (N, K), and the figure of such sums (…, K)."""
    nothing = np.zeros((0, 0))
    if figure == DISAGREEMENT:

        def values(result: CellResult, part: str) -> Floats:
            found = result.disagreement.get(part)
            return nothing if found is None else np.stack([found, np.ones_like(found)], axis=1)

        return values, lambda sums: np.asarray(sums[..., 0] / sums[..., 1])
    return lambda result, part: result.scores.get(part, nothing), lambda sums: pooled(sums, figure)
