"""From a pair of label maps to the statistics of its objects, and from those to figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frugalseg.arrays import UNKNOWN
from frugalseg.metrics.hausdorff import Distances, Outlines
from frugalseg.metrics.overlaps import (
    Floats,
    Labels,
    are_true,
    checked_labels,
    compact,
    overlaps,
    partner_dice,
    partners,
)

FIGURES = ("object_f1", "object_dice", "object_hausdorff", "pixel_dice", "pixel_iou")
"""Names of the figures in :class:`Scores`, in the order in which they are shown."""


@dataclass(frozen=True, eq=False)
class ObjectScores:
    """What is known of each object of one side of one image; arrays of one length, in ascending order of labels."""

    area: Floats
    """Pixels of the object: its weight."""
    dice: Floats
    """Dice with its partner, 0 without one."""
    hausdorff: Floats
    """Hausdorff distance in pixels to its partner, to the nearest object, or the image's diagonal."""

    @property
    def n(self) -> int:
        """Objects."""
        return int(self.area.size)

    @cached_property
    def sums(self) -> tuple[float, float, float]:
        """Σ area, Σ area·dice, Σ area·hausdorff: all that pooling needs."""
        return float(self.area.sum()), float(self.area @ self.dice), float(self.area @ self.hausdorff)


@dataclass(frozen=True)
class ObjectSums:
    """What pooling needs of the objects of one side of one image, small enough to be kept in a file."""

    n: int
    sums: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class ImageScores:
    """Sufficient statistics of one image, see the module's text for every case."""

    pred: ObjectScores | ObjectSums
    truth: ObjectScores | ObjectSums
    n_true_positives: int
    n_pixels_pred: int
    n_pixels_truth: int
    n_pixels_both: int
    n_pixels_unknown: int = 0
    n_partner_ties: int = 0
    hausdorff_nearest_fallbacks: int = 0
    hausdorff_diagonal_fallbacks: int = 0

    def as_list(self) -> list[float]:
        """All that :func:`pool` needs, as numbers: of an image whatever its number of objects."""
        return [value for side in (self.pred, self.truth) for value in (side.n, *side.sums)] + [
            getattr(self, name) for name in _COUNTS
        ]

    @classmethod
    def from_list(cls, values: Sequence[float]) -> ImageScores:
        """What pools to the same figures as the scores that gave these numbers.

        Raises
        ------
        ValueError
            Not as many numbers as :meth:`as_list` gives.
        """
        if len(values) != 8 + len(_COUNTS):
            raise ValueError(f"{len(values)} numbers, not {8 + len(_COUNTS)}")
        pred, truth = (ObjectSums(int(values[at]), (values[at + 1], values[at + 2], values[at + 3])) for at in (0, 4))
        counts = {name: int(value) for name, value in zip(_COUNTS, values[8:], strict=True)}
        return cls(pred, truth, **counts)


_COUNTS = tuple(each.name for each in fields(ImageScores) if each.name not in ("pred", "truth"))


@dataclass(frozen=True)
class Scores:
    """Figures of a set of images; NaN where there is none."""

    object_f1: float
    object_dice: float
    object_hausdorff: float
    """In pixels."""
    pixel_dice: float
    pixel_iou: float
    n_images: int
    n_objects_truth: int
    n_objects_pred: int
    n_true_positives: int
    n_false_positives: int
    n_false_negatives: int
    n_images_empty_truth: int
    n_images_empty_pred: int
    n_pixels_unknown: int
    n_partner_ties: int
    hausdorff_nearest_fallbacks: int
    hausdorff_diagonal_fallbacks: int

    def as_dict(self) -> dict[str, Any]:
        """All fields by name; None in place of NaN, as JSON has no such number."""
        return {name: _none_if_nan(value) for name, value in asdict(self).items()}


def score_image(pred: Labels, truth: Labels) -> ImageScores:
    """Reduce one pair of label maps to the statistics that the figures are made of.

    Parameters
    ----------
    pred, truth
        Label maps of one shape (H, W), any integer type or bool, 0 background. Labels need not be consecutive, objects
        need not be connected. `truth` may hold ``UNKNOWN`` (-1); other negative labels are refused.

    Raises
    ------
    ValueError
        Not two-dimensional, unequal shapes, not integers, negative labels.

    Notes
    -----
    Linear in the pixels for everything but Hausdorff, whose cost follows the objects' outlines.
    """
    pred, truth = checked_labels(pred, "pred"), checked_labels(truth, "truth")
    if pred.shape != truth.shape:
        raise ValueError(f"pred is {pred.shape}, truth is {truth.shape}")
    known = truth != UNKNOWN
    if np.issubdtype(truth.dtype, np.signedinteger) and not known.all():
        pred, truth = np.where(known, pred, 0), np.where(known, truth, 0)
    if (pred < 0).any() or (truth < 0).any():
        raise ValueError(f"negative labels, other than {UNKNOWN} in the truth, mean nothing")
    pred_ids, truth_ids = compact(pred), compact(truth)
    n_pred, n_truth = (int(ids.max(initial=0)) for ids in (pred_ids, truth_ids))
    area_pred = np.bincount(pred_ids.ravel(), minlength=n_pred + 1)[1:].astype(np.float64)
    area_truth = np.bincount(truth_ids.ravel(), minlength=n_truth + 1)[1:].astype(np.float64)
    shared = overlaps(pred_ids, truth_ids, n_truth)
    to_truth = partners(shared.pred, shared.truth, shared.area, n_pred)
    to_pred = partners(shared.truth, shared.pred, shared.area, n_truth)
    geometry = Distances(Outlines(pred_ids, n_pred), Outlines(truth_ids, n_truth))
    return ImageScores(
        ObjectScores(area_pred, partner_dice(area_pred, area_truth, to_truth), geometry.from_pred(to_truth.partner)),
        ObjectScores(area_truth, partner_dice(area_truth, area_pred, to_pred), geometry.from_truth(to_pred.partner)),
        n_true_positives=int(np.count_nonzero(are_true(area_truth, to_truth))),
        n_pixels_pred=int(area_pred.sum()),
        n_pixels_truth=int(area_truth.sum()),
        n_pixels_both=int(shared.area.sum()),
        n_pixels_unknown=int(known.size - np.count_nonzero(known)),
        n_partner_ties=to_truth.n_ties + to_pred.n_ties,
        hausdorff_nearest_fallbacks=geometry.n_nearest,
        hausdorff_diagonal_fallbacks=geometry.n_diagonal,
    )


def true_objects(pred: Labels, truth: Labels) -> tuple[NDArray[np.bool_], NDArray[np.bool_], int]:
    """Which predicted objects the challenge's F1 counts as found.

    Parameters
    ----------
    pred
        Label map (H, W) of objects 1…n.
    truth
        Label map of the same shape, with ``UNKNOWN`` (-1) where nobody looked.

    Returns
    -------
    For each of the n objects whether it covers more than half of a true one, and whether it can be judged, at least
    half of it being known; and the number of true objects.
    """
    known = truth != UNKNOWN
    truth_ids = compact(np.where(known, truth, 0))
    n_pred, n_truth = int(pred.max(initial=0)), int(truth_ids.max(initial=0))
    seen = np.where(known, pred, 0).astype(np.int32)
    area_truth = np.bincount(truth_ids.ravel(), minlength=n_truth + 1)[1:].astype(np.float64)
    shared = overlaps(seen, truth_ids, n_truth)
    to_truth = partners(shared.pred, shared.truth, shared.area, n_pred)
    areas, seen_areas = (np.bincount(each.ravel(), minlength=n_pred + 1)[1:] for each in (pred, seen))
    return are_true(area_truth, to_truth), (2 * seen_areas >= areas) & (areas > 0), n_truth


def pool(images: Sequence[ImageScores]) -> Scores:
    """Figures over all objects of all images together, as the challenge scores a test part.

    A list may hold an image several times (a bootstrap sample). An empty list gives NaN and zero counts.
    """
    n_pred, n_truth = sum(s.pred.n for s in images), sum(s.truth.n for s in images)
    hits = sum(s.n_true_positives for s in images)
    area_pred, dice_pred, far_pred = _added([s.pred.sums for s in images])
    area_truth, dice_truth, far_truth = _added([s.truth.sums for s in images])
    pixels, both = sum(s.n_pixels_pred + s.n_pixels_truth for s in images), sum(s.n_pixels_both for s in images)
    dice_terms = [_ratio(dice_pred, area_pred, 0.0), _ratio(dice_truth, area_truth, 0.0)]
    far_terms = [far / area for far, area in ((far_pred, area_pred), (far_truth, area_truth)) if area]
    undefined = math.nan
    return Scores(
        object_f1=_ratio(2 * hits, n_pred + n_truth, 1.0) if images else undefined,
        object_dice=(sum(dice_terms) / 2 if n_pred + n_truth else 1.0) if images else undefined,
        object_hausdorff=(sum(far_terms) / max(len(far_terms), 1)) if images else undefined,
        pixel_dice=_ratio(2 * both, pixels, 1.0) if images else undefined,
        pixel_iou=_ratio(both, pixels - both, 1.0) if images else undefined,
        n_images=len(images),
        n_objects_truth=n_truth,
        n_objects_pred=n_pred,
        n_true_positives=hits,
        n_false_positives=n_pred - hits,
        n_false_negatives=n_truth - hits,
        n_images_empty_truth=sum(not s.truth.n for s in images),
        n_images_empty_pred=sum(not s.pred.n for s in images),
        n_pixels_unknown=sum(s.n_pixels_unknown for s in images),
        n_partner_ties=sum(s.n_partner_ties for s in images),
        hausdorff_nearest_fallbacks=sum(s.hausdorff_nearest_fallbacks for s in images),
        hausdorff_diagonal_fallbacks=sum(s.hausdorff_diagonal_fallbacks for s in images),
    )


def image_means(images: Sequence[ImageScores]) -> dict[str, float | None]:
    """Unweighted means over images of the per-image figures; None for an empty list."""
    single = [pool([scores]) for scores in images]
    return {name: float(np.mean([getattr(s, name) for s in single])) if single else None for name in FIGURES}


def object_f1(pred: Labels, truth: Labels) -> float:
    """Object F1 of one image, see the module's text."""
    return pool([score_image(pred, truth)]).object_f1


def object_dice(pred: Labels, truth: Labels) -> float:
    """Object Dice of one image, see the module's text."""
    return pool([score_image(pred, truth)]).object_dice


def object_hausdorff(pred: Labels, truth: Labels) -> float:
    """Object Hausdorff of one image in pixels, see the module's text."""
    return pool([score_image(pred, truth)]).object_hausdorff


def _added(sums: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    """Column sums; math.fsum, so that the order of the images does not matter."""
    area, dice, hausdorff = zip(*sums, strict=True) if sums else ((), (), ())
    return math.fsum(area), math.fsum(dice), math.fsum(hausdorff)


def _ratio(part: float, whole: float, otherwise: float) -> float:
    return part / whole if whole else otherwise


def _none_if_nan(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
