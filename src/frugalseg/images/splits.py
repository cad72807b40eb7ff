"""Training and validation, split so that no patient (group) lies on both sides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from frugalseg.errors import InputError
from frugalseg.images.samples import Sample

Split = tuple[list[int], list[int]]
"""Indices into the samples: training, validation; both ascending."""


def split_folds(samples: Sequence[Sample], k: int, *, seed: int, groups: bool) -> list[Split]:
    """Cut the labelled samples into k folds for cross-validation.

    Parameters
    ----------
    samples
        Those without a mask are in no fold.
    k
        Number of folds, at least 2.
    seed
        Same seed and samples, same folds.
    groups
        Keep samples of one group in one fold (a sample without group is a group of its own).

    Returns
    -------
    list of Split
        One for each fold. Every labelled sample is validated exactly once; folds are as equal in images as
        largest-group-first allows.

    Raises
    ------
    InputError
        Fewer groups (or images) than folds.
    """
    if k < 2:
        raise InputError("folds", f"at least 2 are needed, not {k}")
    units = _units(samples, groups=groups)
    if len(units) < k:
        what = "groups" if groups else "images with mask"
        raise InputError("folds", f"{k} folds need as many {what}, there are {len(units)}")
    folds: list[list[int]] = [[] for _ in range(k)]
    for unit in sorted(
        _shuffled(units, seed), key=lambda unit: len(unit), reverse=True
    ):  # stable: equals stay shuffled
        min(folds, key=lambda fold: len(fold)).extend(unit)
    every = sorted(index for unit in units for index in unit)
    return [(sorted(set(every) - set(fold)), sorted(fold)) for fold in folds]


def split_validation(samples: Sequence[Sample], fraction: float, *, seed: int) -> Split:
    """Set a fraction of the labelled samples aside, whole groups where samples have them.

    Parameters
    ----------
    samples
        Those without a mask are on neither side.
    fraction
        Share of the images to validate on, 0 ≤ fraction < 1.
    seed
        Same seed and samples, same split.

    Returns
    -------
    Split
        With a fraction above 0, and two groups or more, neither side is empty; with one group nothing is set aside.
    """
    if not 0 <= fraction < 1:
        raise InputError("validation fraction", f"must lie in 0 ≤ fraction < 1, not {fraction}")
    units = _units(samples, groups=True)
    every = sorted(index for unit in units for index in unit)
    wanted = fraction * len(every)
    aside: list[int] = []
    n_aside = 0
    for unit in _shuffled(units, seed) if fraction > 0 else []:
        # A group is taken if that brings the count nearer to what is wanted; one must stay on either side.
        nearer = abs(len(aside) + len(unit) - wanted) < abs(len(aside) - wanted)
        if nearer and n_aside + 1 < len(units):
            aside.extend(unit)
            n_aside += 1
    if fraction > 0 and not aside and len(units) > 1:
        aside = min(units, key=lambda unit: len(unit))
    return sorted(set(every) - set(aside)), sorted(aside)


def _units(samples: Sequence[Sample], *, groups: bool) -> list[list[int]]:
    """Indices of labelled samples that must stay together, in order of first appearance."""
    units: dict[tuple[str, str | int], list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        if sample.labelled:
            shared = groups and sample.group is not None
            units[("group", sample.group or "") if shared else ("single", index)].append(index)
    return list(units.values())


def _shuffled(units: list[list[int]], seed: int) -> list[list[int]]:
    order = np.random.default_rng(seed).permutation(len(units))
    return [units[position] for position in order]
