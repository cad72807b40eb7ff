"""Strategies by name in :data:`STRATEGIES`: each orders images of a pool, and sees nothing but the pool's numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from frugalseg.suggest.cover import greedy_cover, similarity
from frugalseg.suggest.pool import Ask, Pool
from frugalseg.suggest.reasons import Suggestion, explain

HOLDS_OBJECTS = 0.005
"""Share of predicted foreground from which an image counts as holding objects."""

FIRST_POWER, POWER_GROWTH = 1.0, 2.0
"""Exponent of the scores in ``power`` in the first round, and its factor from round to round: the noise cools."""

STRATIFIED_SHARE = 0.5
"""Share of ``power``'s picks that are drawn class by class."""

Strategy = Callable[[Pool, Ask], list[int]]


def suggest(pool: Pool, ask: Ask, strategy: str = "suggestive") -> list[Suggestion]:
    """Suggest images by the strategy of this name, in order, with reasons.

    Raises
    ------
    ValueError
        There is no such strategy, or the pool is empty.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"no strategy {strategy!r}; there are {', '.join(STRATEGIES)}")
    if not pool.names:
        raise ValueError("the pool is empty")
    return explain(pool, _choose(pool, ask, STRATEGIES[strategy]))


def _choose(pool: Pool, ask: Ask, strategy: Strategy) -> list[int]:
    """Places by the strategy; where an image has had its share of windows, it chooses anew among the others'."""
    if ask.per_image is None or not pool.images:
        return strategy(pool, ask)
    taken: dict[str, int] = {}
    chosen: list[int] = []
    left = pool
    places = np.arange(len(pool.names))
    while len(chosen) < ask.k and len(places):
        ask_now = replace(ask, k=ask.k - len(chosen), n_candidates=None)
        if ask.n_candidates is not None:
            ask_now = replace(ask_now, n_candidates=max(ask_now.k, ask.n_candidates - len(chosen)))
        for place in (int(places[local]) for local in strategy(left, ask_now)):
            image = pool.images[place]
            if taken.get(image, 0) < ask.per_image:
                taken[image] = taken.get(image, 0) + 1
                chosen.append(place)
        full = [place for place in range(len(pool.names)) if taken.get(pool.images[place], 0) >= ask.per_image]
        gone = sorted({*chosen, *full})
        left = pool.without(gone, chosen)
        places = np.setdiff1d(np.arange(len(pool.names)), gone)
    return chosen


def suggestive(pool: Pool, ask: Ask) -> list[int]:
    """Of the K most uncertain images those k that represent the pool best (Yang et al., MICCAI 2017).

    Where only so many windows of one image may be chosen, there are as many more candidates as k choices need.
    """
    order = _highest(pool.uncertainty, len(pool.names))
    n = min(ask.n_candidates or 2 * ask.k, len(order))
    per_image = ask.per_image if pool.images else None
    if per_image is not None:
        taken: Counter[str] = Counter()
        for place, index in enumerate(order, start=1):
            taken[pool.images[index]] += 1
            if place >= n and sum(min(count, per_image) for count in taken.values()) >= ask.k:
                break
        n = place
    chosen = greedy_cover(pool.descriptors, order[:n], ask.k, groups=pool.images, per_group=per_image)
    return [index for index, _ in chosen]


def uncertainty(pool: Pool, ask: Ask) -> list[int]:
    """The images on which the members differ most."""
    return _highest(pool.uncertainty, ask.k)


def entropy(pool: Pool, ask: Ask) -> list[int]:
    """The images of which the ensemble's mean is least sure."""
    return _highest(pool.entropy, ask.k)


def bald(pool: Pool, ask: Ask) -> list[int]:
    """The images about which the members disagree, what all are unsure of left out."""
    return _highest(pool.bald, ask.k)


def cover(pool: Pool, ask: Ask) -> list[int]:
    """Representativeness only: what annotated images represent already counts as covered. Needs no label at all."""
    everything = range(len(pool.names))
    per_image = ask.per_image if pool.images else None
    chosen = greedy_cover(
        pool.descriptors, everything, ask.k, covered_by=pool.labelled, groups=pool.images, per_group=per_image
    )
    return [index for index, _ in chosen]


def kmeanspp(pool: Pool, ask: Ask) -> list[int]:
    """Images drawn far apart: each in proportion to its distance to the nearest chosen or annotated one.

    The distance is 1 - cosine, half the squared distance of unit descriptors (k-means++, Arthur & Vassilvitskii,
    SODA 2007).
    """
    rng = ask.generator()
    nearest = np.ones(len(pool.names))
    if len(pool.labelled):
        nearest = 1.0 - similarity(pool.descriptors, pool.labelled).max(axis=1).astype(np.float64)
    chosen: list[int] = []
    for _ in range(min(ask.k, len(pool.names))):
        weights = np.maximum(nearest, 0)
        weights[chosen] = 0
        if weights.sum() <= 0:  # all the same: any that is not chosen yet
            weights = np.ones(len(pool.names))
            weights[chosen] = 0
        index = int(rng.choice(len(weights), p=weights / weights.sum()))
        chosen.append(index)
        distance = 1.0 - similarity(pool.descriptors, pool.descriptors[[index]])[:, 0].astype(np.float64)
        nearest = np.minimum(nearest, distance)
    return chosen


def power(pool: Pool, ask: Ask) -> list[int]:
    """Images drawn in proportion to a power of their entropy, which rises from round to round; half class by class.

    Batches of the highest scores hold many of one kind; noise spreads them (Kirsch et al., TMLR 2023), less of it when
    the scores have become better, and scores of each class keep rare classes in (after ClaSP-PE, 2025).
    """
    exponent = FIRST_POWER * POWER_GROWTH**ask.round
    noise = ask.generator().gumbel(size=(pool.class_entropy.shape[1] + 1, len(pool.names)))
    scores = np.vstack([pool.entropy, pool.class_entropy.T])
    drawn = exponent * np.log(np.maximum(scores, 1e-12)) + noise
    k = min(ask.k, len(pool.names))
    by_class = round(STRATIFIED_SHARE * k)
    present = [row for row in range(1, len(scores)) if scores[row].max(initial=0) > 0] or [0]
    chosen: list[int] = []
    for turn in range(k):
        row = present[turn % len(present)] if turn < by_class else 0
        order = np.argsort(-drawn[row], kind="stable")
        chosen.append(int(next(index for index in order if index not in chosen)))
    return chosen


def random(pool: Pool, ask: Ask) -> list[int]:
    """Any images: what every strategy has to beat."""
    return _draw(np.arange(len(pool.names)), ask)


def foreground_random(pool: Pool, ask: Ask) -> list[int]:
    """Any images that are predicted to hold objects; any others only where those do not suffice."""
    holds = pool.foreground >= HOLDS_OBJECTS
    first = _draw(np.flatnonzero(holds), ask)
    return (first + _draw(np.flatnonzero(~holds), ask))[: ask.k]


def _highest(scores: NDArray[np.floating], n: int) -> list[int]:
    """Places of the highest scores, of equal ones the first."""
    return [int(index) for index in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")[:n]]


def _draw(places: NDArray[np.intp], ask: Ask) -> list[int]:
    return [int(index) for index in ask.generator().permutation(places)[: ask.k]]


COMPARING = ("suggestive", "uncertainty", "bald")
"""Those that ask how much networks differ: a single one differs from none, and all images would be equal."""

STRATEGIES: Mapping[str, Strategy] = {
    "suggestive": suggestive,
    "uncertainty": uncertainty,
    "entropy": entropy,
    "bald": bald,
    "cover": cover,
    "kmeanspp": kmeanspp,
    "power": power,
    "random": random,
    "foreground_random": foreground_random,
}
