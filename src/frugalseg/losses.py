"""Targets and losses for classes and borders; pixels nobody annotated count nowhere."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from frugalseg.arrays import UNKNOWN

_BIG = 2.0**24  # above every label; float32 holds integers exactly up to here


def window_max(x: Tensor, reach: int) -> Tensor:
    """Largest value within `reach` pixels in a square window, for (N, H, W); two 1-D passes."""
    size = 2 * reach + 1
    rows = F.max_pool2d(x[:, None], (1, size), stride=1, padding=(0, reach))
    return F.max_pool2d(rows, (size, 1), stride=1, padding=(reach, 0))[:, 0]


def window_min(x: Tensor, reach: int) -> Tensor:
    """Smallest value within `reach` pixels in a square window, for (N, H, W)."""
    return -window_max(-x, reach)


def border_target(labels: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Inner rim of every object, and where that is known.

    Parameters
    ----------
    labels
        Label maps (N, H, W) as floats, UNKNOWN where not annotated.
    width
        Rim width in pixels.

    Returns
    -------
    rim, known
        Floats 0 or 1 (N, H, W); a pixel within `width` of an unannotated one is not known.
    """
    highest, lowest = window_max(labels, width), window_min(labels, width)
    rim = (labels > 0) & ((highest != labels) | (lowest != labels))
    return rim.float(), (lowest > UNKNOWN).float()


def gap_weight(labels: Tensor, reach: int, weight: float) -> Tensor:
    """1 everywhere, 1 + `weight` where two different objects lie within `reach` pixels (N, H, W).

    A cheap relative of the U-Net's weight map (Ronneberger et al., MICCAI 2015, eq. 2), which needs a distance
    transform for every patch.
    """
    highest = window_max(labels, reach)
    lowest = window_min(torch.where(labels > 0, labels, _BIG), reach)
    between = (highest > 0) & (lowest < _BIG) & (highest != lowest)
    return 1.0 + weight * between.float()


def size_weight(labels: Tensor, diameter_px: float, most: float) -> Tensor:
    """Weight of each pixel (N, H, W): how many times narrower its object is than one of `diameter_px`, 1 to `most`.

    Scores count objects, losses count pixels; this makes small objects, and what an edge leaves of large ones, count
    for more. Background has weight 1.
    """
    index = labels.clamp(min=0).long().flatten(1)
    areas = torch.zeros(labels.shape[0], int(index.max()) + 1, device=labels.device)
    areas.scatter_add_(1, index, torch.ones_like(index, dtype=torch.float32))
    narrower = diameter_px * (math.pi / 4 / areas.clamp(min=1.0)).sqrt()
    weights = narrower.clamp(1.0, most)
    weights[:, 0] = 1.0
    return torch.gather(weights, 1, index).view_as(labels)


def class_target(labels: Tensor, lookup: Tensor) -> Tensor:
    """Class of each pixel (N, H, W): 0 background, 1…C objects, UNKNOWN kept.

    `lookup` (N, L) gives the class, from 1, of each label of each image.
    """
    index = labels.long().clamp(min=0).flatten(1)
    classes = torch.gather(lookup, 1, index).view_as(labels)
    return torch.where(labels == UNKNOWN, UNKNOWN, classes)


def segmentation_loss(
    logits: Tensor,
    labels: Tensor,
    lookup: Tensor,
    *,
    border_px: int,
    gap_px: int,
    gap_factor: float,
    diameter_px: float,
    small_factor: float,
    dice_factor: float,
    border_factor: float,
) -> Tensor:
    """Cross-entropy of classes and border, weighted in gaps and in small objects; soft Dice of the foreground.

    Parameters
    ----------
    logits
        (N, C + 2, H, W), float32.
    labels
        (N, H, W), float32, UNKNOWN where not annotated.
    lookup
        (N, L) integers, see :func:`class_target`.
    border_px, gap_px
        Width of the rim, and how near two objects are that a gap between them counts more.
    diameter_px, small_factor
        Objects narrower than this count more, up to this many times; see :func:`size_weight`.
    gap_factor, dice_factor, border_factor
        Weights of the gaps and of the loss's parts.

    Returns
    -------
    Scalar; 0 where nothing at all is annotated.
    """
    classes = class_target(labels, lookup)
    known = (classes != UNKNOWN).float()
    weight = gap_weight(labels, gap_px, gap_factor) * known
    if small_factor > 1:
        weight = weight * size_weight(labels, diameter_px, small_factor)
    cross = F.cross_entropy(logits[:, :-1], classes.clamp(min=0), reduction="none")
    loss = (cross * weight).sum() / weight.sum().clamp(min=1.0)

    front = (1.0 - logits[:, :-1].softmax(dim=1)[:, 0]) * known
    truth = (classes > 0).float()
    overlap = 2.0 * (front * truth).sum() + 1.0
    loss = loss + dice_factor * (1.0 - overlap / (front.sum() + truth.sum() + 1.0))

    rim, rim_known = border_target(labels, border_px)
    weight = weight * rim_known  # a gap is where the border matters most
    cross = F.binary_cross_entropy_with_logits(logits[:, -1], rim, reduction="none")
    return loss + border_factor * (cross * weight).sum() / weight.sum().clamp(min=1.0)


def imitation_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """How far a network's probabilities are from those of its teachers: Kullback-Leibler divergence, mean over pixels.

    The distillation of Hinton et al., 2015 (arXiv 1503.02531), at temperature 1, of classes and border together.

    Parameters
    ----------
    logits
        The student's (N, C + 2, H, W), float32.
    targets
        Probabilities of background and classes, which sum to 1, and of the border, of the same shape.

    Returns
    -------
    Scalar, 0 where they are equal.
    """
    classes, border = targets[:, :-1], targets[:, -1]
    own = logits[:, :-1].log_softmax(dim=1)
    apart = (torch.xlogy(classes, classes) - classes * own).sum(dim=1)
    cross = F.binary_cross_entropy_with_logits(logits[:, -1], border, reduction="none")
    certain = torch.xlogy(border, border) + torch.xlogy(1 - border, 1 - border)
    return (apart + cross + certain).mean()
