"""Ranges of activations, so that a packed model runs in INT8 with no data at hand; layers that suffer stay float."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from frugalseg.arrays import Image, ProbabilityMap
from frugalseg.artifact import Artifact, Member
from frugalseg.engines.openvino import OpenVinoEngine, Ranges, observe
from frugalseg.errors import InputError
from frugalseg.images import is_image_name, is_mask_name, load_sample, read_image
from frugalseg.images.headers import read_header
from frugalseg.instances import foreground
from frugalseg.model_files import check_sizes
from frugalseg.segmentation import network_image
from frugalseg.train.folder import read_config
from frugalseg.train.plan import named
from frugalseg.train.run import reopen_data

T = TypeVar("T")

log = logging.getLogger(__name__)

N_IMAGES = 16
"""Images that ranges are taken from; more change them little."""

LARGEST_PX = 768
"""Side to which calibration images are cropped, at the network's scale."""

PERCENTILES = (99.9, 99.98, 99.999)
"""Of each image's values at either end; what lies beyond is clipped. That of least difference to fp32 is taken."""

N_COMPARED = 6
"""Images on which ways to calibrate are compared."""

TOLERANCE = 0.006
"""Mean absolute difference in foreground probability to fp32 up to which every layer may stay in INT8."""

MOST_FLOAT = 6
"""Convolution inputs that may go back to float for the tolerance's sake."""


@dataclass(frozen=True)
class Calibration:
    """What calibrating found, over all members.

    Attributes
    ----------
    n_images
        Images it was done on.
    difference
        Mean absolute difference in foreground probability between INT8 and fp32, on these images.
    agreement
        Share of pixels that both call the same.
    float_inputs
        Inputs of convolutions that stay float, because INT8 there cost most.
    """

    n_images: int
    difference: float
    agreement: float
    float_inputs: tuple[str, ...]


def calibration_images(run: Path, artifact: Artifact, folder: Path | None = None) -> list[Image]:
    """Images to take ranges from, at the network's scale: of `folder`, else of the run's training set.

    Raises
    ------
    InputError
        The images are not there any more, or cannot be read.
    """
    if folder is not None:
        if not folder.is_dir():
            raise InputError(folder, "no such folder of images to calibrate on")
        files = sorted(f for f in folder.iterdir() if f.is_file() and is_image_name(f) and not is_mask_name(f.name))
        if not files:
            raise InputError(folder, "holds no image to calibrate on")
        files = _spread(files)
        sizes = [read_header(path).pixel_size_um for path in files]
        check_sizes(artifact.card, files, sizes, flag=False)
        scales = map(artifact.card.scale_for, sizes)
        sized = [(read_image(path), scale) for path, scale in zip(files, scales, strict=True)]
    else:
        dataset = reopen_data(run)
        try:
            samples, _ = named(dataset, (_spread(read_config(run)["data"]["train"]), ()))
        except KeyError as error:
            raise InputError(dataset.root, f"no longer holds the training image {error}") from None
        sized = [(load_sample(dataset, sample).image, artifact.card.scale) for sample in samples]
    return [_fit(network_image(image, scale, artifact.card.stain), artifact.stride) for image, scale in sized]


def calibrate(
    artifact: Artifact, images: Sequence[Image], *, advance: Callable[[str], None] = lambda _: None
) -> tuple[Artifact, Calibration]:
    """The same model with ranges for INT8 in every member.

    Where INT8 changes the foreground probability by more than :data:`TOLERANCE` on the mean, those inputs of
    convolutions go back to float one after the other whose return helps most.

    Parameters
    ----------
    artifact
        A model with a graph.
    images
        Colours (H, W, 3) at the network's scale, sizes multiples of the stride.
    advance
        Told what is being done.
    """
    members: list[Member] = []
    differences, agreements, floats = [], [], []
    for index, member in enumerate(artifact.members):
        advance(f"ranges of member {index + 1}")
        reference = _maps(artifact, index, images, "fp32")
        few = _spread(list(range(len(images))), N_COMPARED)
        compared = ([images[i] for i in few], [reference[i] for i in few])
        choices = observe(artifact, index, images, PERCENTILES)
        errors = [_compare(_with_ranges(artifact, index, choice), index, *compared)[0] for choice in choices]
        ranges = choices[int(np.argmin(errors))]
        ranges, left_out = _spare_sensitive(artifact, index, ranges, *compared, advance)
        members.append(dataclasses.replace(member, activations=ranges))
        difference, agreement = _compare(_with_ranges(artifact, index, ranges), index, images, reference)
        differences.append(difference)
        agreements.append(agreement)
        floats += left_out
    result = Calibration(
        n_images=len(images),
        difference=float(np.mean(differences)),
        agreement=float(np.mean(agreements)),
        float_inputs=tuple(dict.fromkeys(floats)),
    )
    log.info("INT8 agrees with fp32 in %.2f %% of the pixels of %d images%s", 100 * result.agreement, result.n_images,
             f"; {len(floats)} layers stay float" if floats else "")  # fmt: skip
    return dataclasses.replace(artifact, members=tuple(members)), result


def _spare_sensitive(
    artifact: Artifact,
    index: int,
    ranges: Ranges,
    images: Sequence[Image],
    reference: Sequence[ProbabilityMap],
    advance: Callable[[str], None],
) -> tuple[Ranges, list[str]]:
    """Ranges without those inputs where INT8 costs most, as long as it costs too much; and the names left out."""
    left_out: list[str] = []
    error, _ = _compare(_with_ranges(artifact, index, ranges), index, images, reference)
    if error <= TOLERANCE:
        return ranges, left_out
    gains: dict[str, float] = {}
    for name in ranges:
        advance(f"how much {name} suffers")
        trial = {key: value for key, value in ranges.items() if key != name}
        gains[name] = error - _compare(_with_ranges(artifact, index, trial), index, images, reference)[0]
    for name in sorted(gains, key=lambda name: -gains[name])[:MOST_FLOAT]:
        if error <= TOLERANCE or gains[name] <= 0:
            break
        trial = {key: value for key, value in ranges.items() if key != name}
        now, _ = _compare(_with_ranges(artifact, index, trial), index, images, reference)
        if now < error:
            ranges, error = trial, now
            left_out.append(name)
    return ranges, left_out


def _with_ranges(artifact: Artifact, index: int, ranges: Ranges) -> Artifact:
    members = list(artifact.members)
    members[index] = dataclasses.replace(members[index], activations=ranges)
    return dataclasses.replace(artifact, members=tuple(members))


def _maps(artifact: Artifact, index: int, images: Sequence[Image], precision: str) -> list[ProbabilityMap]:
    engine = OpenVinoEngine(artifact, index, precision="int8" if precision == "int8" else "fp32")
    return [engine.run(image[None])[0] for image in images]


def _compare(
    artifact: Artifact, index: int, images: Sequence[Image], reference: Sequence[ProbabilityMap]
) -> tuple[float, float]:
    """Mean absolute difference of INT8's foreground probability, and the share of pixels called the same."""
    differences, same = [], []
    for ours, theirs in zip(_maps(artifact, index, images, "int8"), reference, strict=True):
        differences.append(np.abs(foreground(ours) - foreground(theirs)).mean())
        same.append(((foreground(ours) > 0.5) == (foreground(theirs) > 0.5)).mean())
    return float(np.mean(differences)), float(np.mean(same))


def _spread(items: Sequence[T], most: int = N_IMAGES) -> list[T]:
    """At most `most` of `items`, evenly over them."""
    return [items[i] for i in np.unique(np.linspace(0, len(items) - 1, min(len(items), most)).astype(int))]


def _fit(image: Image, stride: int) -> Image:
    """The middle of an image, sizes multiples of the stride; what is smaller than the stride is padded."""
    height, width = (max(stride, min(side, LARGEST_PX) // stride * stride) for side in image.shape[:2])
    missing = [(0, max(0, wanted - side)) for wanted, side in zip((height, width), image.shape[:2], strict=True)]
    image = np.pad(image, [*missing, (0, 0)], mode="edge")
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])
