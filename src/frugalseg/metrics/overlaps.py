"""Which objects of two label maps overlap, by how much, and who is whose partner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_MAX_TABLE = 1 << 22  # entries of a counting table; above, sorting takes its place


@dataclass(frozen=True, eq=False)
class Overlaps:
    """Every overlapping pair of objects (counted from 0) and the pixels it shares."""

    pred: Indices
    truth: Indices
    area: Indices


@dataclass(frozen=True, eq=False)
class Partners:
    """For each object of a side: its partner on the other (-1 without overlap) and the pixels they share."""

    partner: Indices
    shared: Indices
    n_ties: int


def checked_labels(labels: Labels, name: str) -> Labels:
    """The label map as an integer array of two dimensions."""
    array = np.asarray(labels)
    if array.ndim != 2:
        raise ValueError(f"{name} has {array.ndim} dimensions, a label map has 2")
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} holds {array.dtype}, labels are integers")
    return array


def compact(labels: Labels) -> NDArray[np.int32]:
    """Renumber the labels to 1…n in ascending order, 0 stays 0."""
    top = int(labels.max(initial=0))
    if top <= _MAX_TABLE:
        indices = labels.astype(np.intp)
        present = np.bincount(indices.ravel(), minlength=top + 1) > 0
        present[0] = False
        return np.asarray(np.cumsum(present, dtype=np.int32)[indices])
    values, ids = np.unique(labels, return_inverse=True)
    return np.asarray(ids.reshape(labels.shape) + (values[0] != 0), dtype=np.int32)


def overlaps(pred: NDArray[np.int32], truth: NDArray[np.int32], n_truth: int) -> Overlaps:
    """Count the pixels of all pairs at once: a pair becomes one number, the numbers are counted."""
    both = (pred > 0) & (truth > 0)
    pairs = (pred[both].astype(np.intp) - 1) * n_truth + truth[both] - 1
    if pairs.size and int(pairs.max()) < _MAX_TABLE:
        table = np.bincount(pairs)
        pairs = np.flatnonzero(table)
        area = table[pairs]
    else:
        pairs, area = np.unique(pairs, return_counts=True)
    return Overlaps(*np.divmod(pairs, max(n_truth, 1)), area)


def partners(own: Indices, other: Indices, area: Indices, n_own: int) -> Partners:
    """Partner of each object: most pixels shared, then lowest label."""
    order = np.lexsort((other, -area, own))
    own, other, area = own[order], other[order], area[order]
    first = np.flatnonzero(np.diff(own, prepend=-1))  # where the rows of the next object begin
    partner, shared = np.full(n_own, -1, np.intp), np.zeros(n_own, np.intp)
    partner[own[first]], shared[own[first]] = other[first], area[first]
    second = first[first + 1 < own.size] + 1
    ties = (own[second] == own[second - 1]) & (area[second] == area[second - 1])
    return Partners(partner, shared, int(np.count_nonzero(ties)))


def partner_dice(own: Floats, other: Floats, partners: Partners) -> Floats:
    """Dice of each object with its partner."""
    partner_area = other[partners.partner] if other.size else np.zeros_like(own)
    return np.asarray(2 * partners.shared / (own + partner_area))  # without partner, shared is 0 and so is the Dice


def are_true(area_truth: Floats, to_truth: Partners) -> NDArray[np.bool_]:
    """For each predicted object whether it covers more than half of its partner; two cannot cover the same one."""
    found = to_truth.partner >= 0
    result = np.zeros(len(found), dtype=np.bool_)
    result[found] = 2 * to_truth.shared[found] > area_truth[to_truth.partner[found]]
    return result
