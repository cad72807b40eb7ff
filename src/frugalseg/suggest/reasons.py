"""Why an image was suggested, in numbers that a person can judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from frugalseg.suggest.cover import similarity, unit_rows
from frugalseg.suggest.pool import Pool

N_NEAREST = 3


@dataclass(frozen=True)
class Suggestion:
    """One suggested image.

    Attributes
    ----------
    index, name
        Its place in the pool.
    uncertainty, uncertainty_rank
        Its score, and how many images of the pool are more uncertain, plus 1.
    represents
        Share of the pool whose most similar suggestion it is; images like none of the suggestions are nobody's.
    similarity
        Mean similarity of these images to it; 1 where it stands for itself alone.
    nearest
        Its most similar images of the pool, itself and other suggestions left out.
    """

    index: int
    name: str
    uncertainty: float
    uncertainty_rank: int
    represents: float
    similarity: float
    nearest: tuple[str, ...]


def explain(pool: Pool, chosen: Sequence[int]) -> list[Suggestion]:
    """Reasons for places of the pool, in their order."""
    if not len(chosen):
        return []
    places = list(chosen)
    n = len(pool.names)
    likeness = similarity(pool.descriptors[places], pool.descriptors)
    owner = likeness.argmax(axis=0)
    owner[likeness.max(axis=0) <= 0] = -1
    owner[places] = np.arange(len(places))  # twins of a suggestion stay with it, it stays with itself
    uncertainty = np.asarray(pool.uncertainty, dtype=np.float64)
    rows = unit_rows(pool.descriptors)
    others = np.ones(n, dtype=bool)
    others[places] = False
    suggestions = []
    for position, index in enumerate(places):
        mine = owner == position
        likenesses = np.where(others, rows @ rows[index], -np.inf)
        order = np.argsort(-likenesses, kind="stable")[: min(N_NEAREST, int(others.sum()))]
        suggestions.append(
            Suggestion(
                index=index,
                name=pool.names[index],
                uncertainty=float(uncertainty[index]),
                uncertainty_rank=1 + int((uncertainty > uncertainty[index]).sum()),
                represents=float(mine.mean()),
                similarity=float(np.where(np.flatnonzero(mine) == index, 1.0, likeness[position, mine]).mean()),
                nearest=tuple(pool.names[int(each)] for each in order),
            )
        )
    return suggestions
