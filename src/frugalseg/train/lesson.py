"""What a network learns from teachers: where they lie, and images that they alone annotate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frugalseg.arrays import UNKNOWN
from frugalseg.errors import InputError
from frugalseg.images import load_image, open_dataset
from frugalseg.model_files import ModelCard, check_members, check_sizes
from frugalseg.nets import SegmentationNet
from frugalseg.segmentation import network_image
from frugalseg.train.patches import PreparedImage
from frugalseg.train.weights import describe_source, load_net


@dataclass(frozen=True)
class Lesson:
    """Where teachers lie, and images without annotations that are learnt from them alone.

    Attributes
    ----------
    teachers
        Finished run folders; their probabilities are averaged.
    unlabelled
        A folder of images; masks that lie there are not looked at.
    """

    teachers: tuple[Path, ...] = ()
    unlabelled: Path | None = None

    def describe(self) -> dict[str, Any]:
        """For the run folder: which weights, which images."""
        images = None
        if self.unlabelled is not None:
            images = {"root": str(self.unlabelled.resolve()), "sha256": open_dataset(self.unlabelled).content_hash()}
        return {"runs": [describe_source(folder) for folder in self.teachers], "unlabelled": images}


def load_teachers(folders: Sequence[Path], student: Path, card: ModelCard) -> list[SegmentationNet]:
    """The networks of finished runs, which must have the student's classes, network and scale; `student` is its source.

    Raises
    ------
    InputError
        Names the first that does not fit.
    """
    loaded = [load_net(folder) for folder in folders]
    check_members([student, *folders], [card, *(each for _, each in loaded)])
    return [net for net, _ in loaded]


def prepare_unlabelled(lesson: Lesson, card: ModelCard) -> list[PreparedImage]:
    """The images without annotations, if any, as the network of this card sees them; every pixel is unknown.

    Raises
    ------
    InputError
        The folder holds no image, or one cannot be read.
    """
    if lesson.unlabelled is None:
        return []
    dataset = open_dataset(lesson.unlabelled)
    if not dataset.samples:
        raise InputError(dataset.root, "holds no image")
    files, sizes = [each.image for each in dataset.samples], [each.pixel_size_um for each in dataset.samples]
    check_sizes(card, files, sizes, flag=False)
    images = (
        network_image(load_image(sample), card.scale_for(sample.pixel_size_um), card.stain)
        for sample in dataset.samples
    )
    return [
        PreparedImage(sample.name, image, np.full(image.shape[:2], UNKNOWN, np.int32), np.zeros(1, np.int64))
        for sample, image in zip(dataset.samples, images, strict=True)
    ]
