"""The GlaS metrics once more, as slowly and obviously as possible: the judge of :mod:`frugalseg.metrics`.

Written from the definitions, object by object and pixel by pixel; it shares no code and no trick with the package.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.distance import cdist


def objects_of(labels: np.ndarray) -> list[int]:
    return sorted({int(value) for value in labels.flat} - {0})


def without_unknown(pred: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unknown truth is background on both sides."""
    pred, truth = np.array(pred, dtype=np.int64), np.array(truth, dtype=np.int64)
    pred[truth == -1] = 0
    truth[truth == -1] = 0
    return pred, truth


def partner(own: np.ndarray, label: int, other: np.ndarray) -> int | None:
    """Most frequent non-zero label of `other` under the object; the lowest of equals; None if there is none."""
    counts: dict[int, int] = {}
    for row, column in zip(*np.where(own == label), strict=True):
        value = int(other[row, column])
        if value != 0:
            counts[value] = counts.get(value, 0) + 1
    best = None
    for value in sorted(counts):
        if best is None or counts[value] > counts[best]:
            best = value
    return best


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * int((a & b).sum()) / (int(a.sum()) + int(b.sum()))


def hausdorff(a: np.ndarray, b: np.ndarray) -> float:
    """Both directions, over all pixels of both objects."""
    table = cdist(np.argwhere(a), np.argwhere(b))
    return max(table.min(axis=1).max(), table.min(axis=0).max())


def one_side(own: np.ndarray, other: np.ndarray) -> list[tuple[int, float, float]]:
    """(area, Dice, Hausdorff) of each object of `own`."""
    found = []
    for label in objects_of(own):
        mine = own == label
        match = partner(own, label, other)
        if match is not None:
            theirs = other == match
            found.append((int(mine.sum()), dice(mine, theirs), hausdorff(mine, theirs)))
        elif objects_of(other):
            distances = [hausdorff(mine, other == candidate) for candidate in objects_of(other)]
            found.append((int(mine.sum()), 0.0, min(distances)))
        else:
            found.append((int(mine.sum()), 0.0, math.sqrt(own.shape[0] ** 2 + own.shape[1] ** 2)))
    return found


def true_positives(pred: np.ndarray, truth: np.ndarray) -> int:
    hits = 0
    for label in objects_of(pred):
        match = partner(pred, label, truth)
        if match is not None:
            covered = int(((pred == label) & (truth == match)).sum())
            if covered / int((truth == match).sum()) > 0.5:
                hits += 1
    return hits


def weighted(side: list[tuple[int, float, float]], column: int) -> float:
    total = sum(entry[0] for entry in side)
    return sum(entry[0] / total * entry[column] for entry in side)


def figures(pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Pooled figures of a list of (pred, truth)."""
    pairs = [without_unknown(pred, truth) for pred, truth in pairs]
    of_pred = [entry for pred, truth in pairs for entry in one_side(pred, truth)]
    of_truth = [entry for pred, truth in pairs for entry in one_side(truth, pred)]
    tp = sum(true_positives(pred, truth) for pred, truth in pairs)
    fp, fn = len(of_pred) - tp, len(of_truth) - tp
    sides = [side for side in (of_pred, of_truth) if side]
    intersection = sum(int(((pred > 0) & (truth > 0)).sum()) for pred, truth in pairs)
    union = sum(int(((pred > 0) | (truth > 0)).sum()) for pred, truth in pairs)
    total = sum(int((pred > 0).sum()) + int((truth > 0).sum()) for pred, truth in pairs)
    return {
        "object_f1": 2 * tp / (2 * tp + fp + fn) if sides else 1.0,
        "object_dice": sum(weighted(side, 1) for side in sides) / 2 if sides else 1.0,
        "object_hausdorff": sum(weighted(side, 2) for side in sides) / len(sides) if sides else 0.0,
        "pixel_dice": 2 * intersection / total if total else 1.0,
        "pixel_iou": intersection / union if union else 1.0,
    }
