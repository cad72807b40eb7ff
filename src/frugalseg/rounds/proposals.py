"""What a round's ensemble finds in images that are to be annotated: objects to correct, and where the members differ.

Each image gets two files in the round's folder, a label map and a picture of the uncertainty, and they are never
written twice: an annotation may have begun from them. Validation images get none, for an annotator who starts from what
the networks find would judge them too kindly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from frugalseg.arrays import Image, LabelMap, ProbabilityMap
from frugalseg.atomic import write_json
from frugalseg.engines import Engine
from frugalseg.errors import InputError
from frugalseg.images import Sample, load_image, write_image, write_label_map
from frugalseg.model_files import ModelCard
from frugalseg.predict import load_model
from frugalseg.project import Project, ProjectImage
from frugalseg.project.round_files import proposal_classes_file, proposal_file, uncertainty_file
from frugalseg.rounds.data import as_sample
from frugalseg.rounds.suggesting import Answer, ensemble_file
from frugalseg.segmentation import objects_of, probability_map, resize_image, scaled_size
from frugalseg.stain import clear_black, curves_for, recolour
from frugalseg.suggest import score_maps

LARGEST_UNCERTAINTY = 0.5
"""The standard deviation of numbers between 0 and 1 is never more."""


@dataclass(frozen=True, eq=False)
class Finding:
    """What the members of an ensemble see in an image or in a window of it.

    Attributes
    ----------
    labels, classes
        Objects, at the image's size, and the class of each, from 0.
    uncertainty
        Standard deviation over the members of each pixel's probability to be object, at the network's size.
    """

    labels: LabelMap
    classes: Mapping[int, int]
    uncertainty: NDArray[np.float32]


def find(engines: Sequence[Engine], card: ModelCard, image: Image, scale: float) -> Finding:
    """Objects and uncertainty from one look of each member; the objects are those of ``segment``."""
    seen = resize_image(image, scale)
    curves = curves_for(card.stain, [seen])
    small = recolour(seen, curves)
    total: ProbabilityMap | None = None

    def maps() -> Iterator[ProbabilityMap]:
        nonlocal total
        for engine in engines:
            found = probability_map(engine, small)
            total = found.copy() if total is None else total + found
            yield found

    uncertainty = score_maps(maps()).uncertainty_map
    assert total is not None  # an ensemble has members
    mean = total / np.float32(len(engines)) if len(engines) > 1 else total
    clear_black(mean, seen, curves)
    objects = objects_of(mean, image.shape[0], image.shape[1], card.instances)
    return Finding(objects.labels, objects.classes, uncertainty)


def find_suggested(answer: Answer) -> list[Finding]:
    """What the ensemble sees in each suggested image or window; nothing for a cold start."""
    if answer.card is None:
        return []
    return [
        find(answer.engines, answer.card, load_image(sample), answer.card.scale_for(sample.pixel_size_um))
        for sample in answer.samples
    ]


def write_proposals(project: Project, answer: Answer, found: Sequence[Finding]) -> tuple[Path, ...]:
    """Write what was found in the suggested images; label maps that were written now.

    Where windows were suggested, nothing is proposed outside them.
    """
    if answer.round is None or answer.card is None:
        return ()
    images = {image.path: image for image in project.images()}
    by_image: dict[Path, list[tuple[Sample, Finding]]] = {}
    for sample, finding in zip(answer.samples, found, strict=True):
        by_image.setdefault(sample.image, []).append((sample, finding))
    written = []
    for path, parts in by_image.items():
        scale = answer.card.scale_for(parts[0][0].pixel_size_um)
        if _write(project, answer.round, images[path], parts, scale):
            written.append(proposal_file(project.folder, answer.round, images[path].name))
    return tuple(written)


def propose(project: Project, image: ProjectImage) -> int:
    """Write a proposal for one image by the newest trained round, unless it is there; the round's number.

    Raises
    ------
    InputError
        No round has been trained, its networks are missing, or the image is for validation.
    """
    if image.role == "validation":
        raise InputError(image.name, "is for validation: it is drawn without a proposal, on purpose")
    newest = project.newest_trained()
    if newest is None:
        raise InputError(project.folder, "has no trained round that could propose anything")
    if not _files_are_there(project, newest.number, image):
        model = load_model([ensemble_file(project, newest.number)])
        sample = as_sample(image, annotated=False)
        scale = model.card.scale_for(sample.pixel_size_um)
        finding = find(model.engines, model.card, load_image(sample), scale)
        _write(project, newest.number, image, [(sample, finding)], scale)
    return newest.number


def _files_are_there(project: Project, number: int, image: ProjectImage) -> bool:
    return all(file(project.folder, number, image.name).exists() for file in (proposal_file, uncertainty_file))


def _write(
    project: Project, number: int, image: ProjectImage, parts: Sequence[tuple[Sample, Finding]], scale: float
) -> bool:
    """Write what is not there yet; whether the label map was written."""
    path, picture = (file(project.folder, number, image.name) for file in (proposal_file, uncertainty_file))
    if not picture.exists():
        write_image(picture, _uncertainty_picture(image, parts, scale))
    if path.exists():
        return False
    labels, classes = placed(image, parts)
    if len(project.class_names) > 1:  # first, so that a label map always has its classes
        table = {str(label): index for label, index in sorted(classes.items())}
        write_json(proposal_classes_file(project.folder, number, image.name), table)
    write_label_map(path, labels)
    return True


def placed(image: ProjectImage, parts: Sequence[tuple[Sample, Finding]]) -> tuple[LabelMap, dict[int, int]]:
    """Objects of one image's windows in a label map of the whole image, numbered on, and their classes.

    Where windows overlap, the one that was suggested first counts.
    """
    labels: LabelMap = np.zeros((image.height, image.width), dtype=np.int32)
    classes: dict[int, int] = {}
    free = np.ones(labels.shape, dtype=bool)
    for sample, finding in parts:
        there, before = _within(sample, labels.shape, 1.0), int(labels.max())
        part = np.where((finding.labels > 0) & free[there], finding.labels + before, 0)
        labels[there] = np.where(free[there], part, labels[there])
        classes.update({label + before: index for label, index in finding.classes.items()})
        free[there] = False
    present = set(np.unique(labels[labels > 0]).tolist())
    return labels, {label: index for label, index in classes.items() if label in present}


def _uncertainty_picture(
    image: ProjectImage, parts: Sequence[tuple[Sample, Finding]], scale: float
) -> NDArray[np.uint8]:
    """Uncertainty as grey values at the network's size, 255 for the largest possible; 0 where nothing was looked at."""
    grey = np.zeros(scaled_size(image.height, image.width, scale), dtype=np.uint8)
    for sample, finding in parts:
        share = np.clip(finding.uncertainty / LARGEST_UNCERTAINTY, 0, 1)
        there = _within(sample, grey.shape, scale)
        height, width = grey[there].shape
        part = Pillow.fromarray(np.rint(255 * share).astype(np.uint8))
        grey[there] = np.asarray(part.resize((width, height), Pillow.Resampling.NEAREST))
    return grey


def _within(sample: Sample, shape: tuple[Any, ...], scale: float) -> tuple[slice, slice]:
    """Where a sample's window lies in a map of the whole image that is shrunk by `scale`; at least a pixel of it."""
    if sample.window is None:
        return slice(0, shape[0]), slice(0, shape[1])
    x, y, width, height = sample.window
    slices = []
    for start, length, size in ((y, height, shape[0]), (x, width, shape[1])):
        first = min(round(start * scale), size - 1)
        slices.append(slice(first, min(size, max(first + 1, round((start + length) * scale)))))
    return slices[0], slices[1]
