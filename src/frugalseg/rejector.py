"""Which of the found objects are true ones: a logistic regression on what the network says inside of each.

It is fitted to objects of networks that had not seen the image (those held out in a cross-validation), takes the place
of the rule for small doubtful objects, and gives every object a probability. Only what lies inside the object counts:
objects of a whole slide, which are looked at alone, are judged as in an image of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from frugalseg.arrays import LabelMap, Mask, ProbabilityMap

FEATURES = ("log_area", "cut", "mean", "low", "rim_border", "border", "sure")
"""Of an object at the network's scale: the logarithm of its area in pixels; whether the image's edge cuts it; mean and
10th percentile of its foreground probability; mean border probability of its outermost pixels (of all where the image's
edges leave none), and of all; share of
its pixels with a foreground probability above :data:`SURE`."""

RIM_PX = 2
SURE = 0.9

CANDIDATE_AREA = 0.5
"""Objects down to this share of the debris size are judged; smaller ones are removed as ever."""

RIDGE = 1.0
"""Penalty on the squared weights of the standardised features, against a sum of log losses."""

LEAST_SPREAD = 1e-6
"""A feature that varies less does not vary: it gets no weight worth mentioning."""

MIN_OBJECTS = 20
"""So many true and so many false objects are needed at least."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Candidates:
    """Objects to fit a rejector to.

    Attributes
    ----------
    features
        Shape (N, F).
    are_true
        Which of them are true objects, shape (N,).
    n_true
        How many objects there were to be found, those without a candidate included.
    """

    features: Floats
    are_true: Mask
    n_true: int

    @classmethod
    def joined(cls, parts: Sequence[Candidates]) -> Candidates:
        """Of several images together."""
        return cls(
            np.concatenate([each.features for each in parts]),
            np.concatenate([each.are_true for each in parts]),
            sum(each.n_true for each in parts),
        )


@dataclass(frozen=True)
class Rejector:
    """A logistic regression on :data:`FEATURES`, and the probability above which an object is kept.

    Raises
    ------
    ValueError
        Another number of weights than features, a number that is not finite, a threshold outside 0 to 1.
    """

    weights: tuple[float, ...]
    bias: float
    threshold: float

    def __post_init__(self) -> None:
        if len(self.weights) != len(FEATURES):
            raise ValueError(f"a rejector has {len(FEATURES)} weights, not {len(self.weights)}")
        if not all(math.isfinite(value) for value in (*self.weights, self.bias)) or not 0 <= self.threshold <= 1:
            raise ValueError("the rejector has a number that cannot be")

    @classmethod
    def from_document(cls, value: Mapping[str, Any]) -> Rejector:
        """What :meth:`to_document` gave; ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        weights = value["weights"]
        if not isinstance(weights, list) or not all(type(each) in (int, float) for each in weights):
            raise TypeError("weights must be a list of numbers")
        try:
            return cls(tuple(map(float, weights)), float(value["bias"]), float(value["threshold"]))
        except OverflowError as error:
            raise ValueError(str(error)) from None

    def to_document(self) -> dict[str, Any]:
        """For JSON."""
        weights = [float(each) for each in self.weights]
        return {"weights": weights, "bias": float(self.bias), "threshold": float(self.threshold)}

    def probabilities(self, features: Floats) -> Floats:
        """Probability of each object to be a true one, shape (N,), from features (N, F)."""
        return np.asarray(special.expit(features @ np.array(self.weights) + self.bias))


KEEP_ALL = Rejector((0.0,) * len(FEATURES), 0.0, 0.0)
"""Keeps every object that it is asked about."""


class TooFewObjectsError(ValueError):
    """There are too few objects of a kind to learn from."""


def object_features(labels: LabelMap, probabilities: ProbabilityMap) -> Floats:
    """Features of the objects 1…n of a label map (H, W), from its probability map (C + 2, H, W); shape (n, F)."""
    front, border = 1.0 - probabilities[0], probabilities[-1]
    height, width = labels.shape
    rims = _rims(labels)
    rows = []
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            raise ValueError(f"object {label} has no pixel; objects are numbered 1…n")
        top, bottom, left, right = box[0].start, box[0].stop, box[1].start, box[1].stop
        around = (slice(max(top - 1, 0), bottom + 1), slice(max(left - 1, 0), right + 1))
        inside = labels[around] == label
        cut = top == 0 or left == 0 or bottom == height or right == width
        sureness = front[around][inside]
        edges = border[around]
        rim = inside & rims[around]
        rows.append(
            [
                math.log(len(sureness)), float(cut), sureness.mean(dtype=np.float64), np.percentile(sureness, 10),
                edges[rim if rim.any() else inside].mean(dtype=np.float64), edges[inside].mean(dtype=np.float64),
                (sureness > SURE).mean(),
            ]
        )  # fmt: skip
    return np.array(rows, dtype=np.float64).reshape(-1, len(FEATURES))


def _rims(labels: LabelMap) -> Mask:
    """The pixels within RIM_PX steps of something that is not of their own object; where the image ends it goes on."""
    along, across = labels[1:] == labels[:-1], labels[:, 1:] == labels[:, :-1]
    deep = _and_neighbours(np.ones(labels.shape, dtype=bool), along, across)
    for _ in range(RIM_PX - 1):
        deep = _and_neighbours(deep, deep[1:] & deep[:-1], deep[:, 1:] & deep[:, :-1])
    return ~deep


def _and_neighbours(mask: Mask, along: Mask, across: Mask) -> Mask:
    """Pixels of `mask` whose pairs with the next pixel along and across the rows all hold."""
    kept = mask.copy()
    for pairs, sides in ((along, (kept[1:], kept[:-1])), (across, (kept[:, 1:], kept[:, :-1]))):
        for side in sides:
            side &= pairs
    return kept


def fit_rejector(candidates: Candidates) -> Rejector:
    """Fit a rejector.

    Returns
    -------
    The regression, with the threshold that has the highest expected F1 if its probabilities are right (a half of that
    F1: Lipton et al., ECML 2014, arXiv 1402.1892).

    Raises
    ------
    TooFewObjectsError
        Fewer than :data:`MIN_OBJECTS` true or false candidates.
    """
    features, are_true = candidates.features, candidates.are_true
    n_kinds = (int(np.count_nonzero(are_true)), int(np.count_nonzero(~are_true)))
    if min(n_kinds) < MIN_OBJECTS:
        raise TooFewObjectsError(f"{n_kinds[0]} true and {n_kinds[1]} false objects; {MIN_OBJECTS} of each are needed")
    mean, spread = features.mean(axis=0), features.std(axis=0)
    spread[spread < LEAST_SPREAD] = 1.0
    inputs = np.column_stack([(features - mean) / spread, np.ones(len(features))])

    def loss(weights: Floats) -> tuple[float, Floats]:
        scores = inputs @ weights
        residuals = special.expit(scores) - are_true
        penalty = np.append(weights[:-1], 0.0)
        value = np.logaddexp(0, scores).sum() - scores[are_true].sum() + RIDGE * (penalty**2).sum()
        return float(value), inputs.T @ residuals + 2 * RIDGE * penalty

    from scipy import optimize  # slow to import, and only needed here

    found = optimize.minimize(loss, np.zeros(inputs.shape[1]), jac=True, method="L-BFGS-B").x
    weights = found[:-1] / spread
    bias = float(found[-1] - weights @ mean)
    threshold = best_threshold(special.expit(inputs @ found), candidates.n_true)
    return Rejector(tuple(weights.tolist()), bias, threshold)


def best_threshold(probabilities: Floats, n_true: int) -> float:
    """A half of the highest expected F1 that keeping the most probable objects gives, of `n_true` to be found."""
    ranked = np.sort(probabilities)[::-1]
    expected = 2 * np.cumsum(ranked) / (np.arange(1, len(ranked) + 1) + n_true)
    return min(float(expected.max()) / 2, 0.5)
