"""Training patches: cut, turned, bent and stained anew for every step, from a seed and the step's number alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from frugalseg.arrays import Image, LabelMap
from frugalseg.train.config import TrainConfig

# Optical density of haematoxylin, eosin and a residual (Ruifrok & Johnston, Anal. Quant. Cytol. Histol. 23, 2001)
STAINS = torch.tensor([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])


@dataclass(frozen=True)
class PreparedImage:
    """An annotated image at the network's scale.

    Attributes
    ----------
    image, labels
        (H, W, 3) and (H, W).
    lookup
        Class, from 1, of each label; ``lookup[0]`` is 0.
    """

    name: str
    image: Image
    labels: LabelMap
    lookup: NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Patches of one step: colours 0-255 (N, 3, P, P), labels (N, P, P), class of each label (N, L)."""

    images: Tensor
    labels: Tensor
    lookup: Tensor


def draw_batch(images: Sequence[PreparedImage], config: TrainConfig, step: int) -> Batch:
    """The batch of `step`; the same for the same seed, step and images, whatever came before."""
    rng = np.random.default_rng([config.seed, step])
    areas = np.array([image.labels.size for image in images], dtype=np.float64)
    chosen = rng.choice(len(images), size=config.batch_size, p=areas / areas.sum())
    patches = [_cut(images[i], config, rng) for i in chosen]
    colours = torch.stack([patch[0] for patch in patches])
    labels = torch.stack([patch[1] for patch in patches])
    longest = max(len(images[i].lookup) for i in chosen)
    lookup = np.stack([np.pad(images[i].lookup, (0, longest - len(images[i].lookup))) for i in chosen])
    return Batch(recolour(colours, config, rng), labels, torch.from_numpy(lookup))


def _cut(source: PreparedImage, config: TrainConfig, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """One patch (3, P, P) and its labels (P, P): rotation, zoom, flip and elastic shift in a single resampling."""
    size = config.patch_px
    height, width = source.labels.shape
    angle = rng.uniform(0, 2 * math.pi) if config.rotate else 0.0
    zoom = math.exp(rng.uniform(-1, 1) * math.log(config.zoom))
    flip = -1.0 if config.flip and rng.random() < 0.5 else 1.0
    # the centre stays so far inside that little of the patch is the image's mirrored outside
    margins = [min(0.35 * size, side / 2) for side in (height, width)]
    centre_y = rng.uniform(margins[0], height - margins[0])
    centre_x = rng.uniform(margins[1], width - margins[1])
    coarse = rng.normal(0.0, 1.0, (1, 2, 5, 5)).astype(np.float32)

    axis = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    cos, sin = math.cos(angle) * zoom, math.sin(angle) * zoom
    x = centre_x + flip * cos * axis[None, :] - sin * axis[:, None]
    y = centre_y + flip * sin * axis[None, :] + cos * axis[:, None]
    if config.elastic_px > 0:
        shift = F.interpolate(torch.from_numpy(coarse), (size, size), mode="bicubic", align_corners=True)[0]
        x, y = x + config.elastic_px * shift[0], y + config.elastic_px * shift[1]

    # only the part of the image that the patch touches is turned into floats
    top, bottom = _span(y, height)
    left, right = _span(x, width)
    grid = torch.stack([_to_unit(x - left, right - left), _to_unit(y - top, bottom - top)], dim=-1)[None]
    colours = torch.from_numpy(source.image[top:bottom, left:right].transpose(2, 0, 1).astype(np.float32))
    labels = torch.from_numpy(source.labels[top:bottom, left:right].astype(np.float32))
    patch = F.grid_sample(colours[None], grid, mode="bilinear", padding_mode="reflection", align_corners=False)[0]
    found = F.grid_sample(labels[None, None], grid, mode="nearest", padding_mode="reflection", align_corners=False)
    return patch, found[0, 0]


def _span(positions: Tensor, size: int) -> tuple[int, int]:
    """First and last (exclusive) pixel needed along an axis, with one of margin for interpolation.

    Where the patch reaches over the edge by k pixels, the k pixels inside it are needed too, for the reflection.
    """
    low, high = float(positions.min()), float(positions.max())
    first = 0 if low < 1 else int(min(low - 1, size - 1))
    last = size if high > size - 2 else int(high) + 3
    if low < 0:
        last = max(last, int(-low) + 3)
    if high > size - 1:
        first = min(first, int(2 * size - high) - 3)
    return max(0, min(first, size - 1)), min(size, last)


def _to_unit(positions: Tensor, size: int) -> Tensor:
    """Pixel positions (0 is the first pixel's centre) as grid_sample wants them, -1…1 from edge to edge."""
    return (positions + 0.5) * (2.0 / size) - 1.0


def recolour(colours: Tensor, config: TrainConfig, rng: np.random.Generator) -> Tensor:
    """Vary stain strengths, brightness and contrast of (N, 3, P, P), patch by patch; results stay within 0-255.

    Stains vary in optical density, as in Tellez et al., IEEE TMI 37, 2018.
    """
    n = colours.shape[0]
    factors = 1 + config.stain * torch.from_numpy(rng.normal(0, 1, (n, 3, 1, 1)).astype(np.float32))
    offsets = 0.2 * config.stain * torch.from_numpy(rng.normal(0, 1, (n, 3, 1, 1)).astype(np.float32))
    contrast = 1 + config.brightness * torch.from_numpy(rng.normal(0, 1, (n, 1, 1, 1)).astype(np.float32))
    shift = 255 * config.brightness * 0.5 * torch.from_numpy(rng.normal(0, 1, (n, 1, 1, 1)).astype(np.float32))
    if config.stain > 0:
        basis = STAINS / STAINS.norm(dim=1, keepdim=True)
        # density = -log((c + 1) / 256); unmix, scale and shift, mix again: one 3x3 map per patch
        density = -torch.log((colours + 1.0) / 256.0)
        mixing = torch.linalg.inv(basis) @ (factors[..., 0] * basis)
        moved = (offsets[..., 0].transpose(1, 2) @ basis).transpose(1, 2)
        density = torch.bmm(mixing.transpose(1, 2), density.flatten(2)) + moved
        colours = (256.0 * torch.exp(-density) - 1.0).view_as(colours)
    if config.brightness > 0:
        mean = colours.mean(dim=(1, 2, 3), keepdim=True)
        colours = (colours - mean) * contrast + mean + shift
    return colours.clamp(0.0, 255.0)
