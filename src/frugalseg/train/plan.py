"""What a run will do, decided before it starts: which images, at which scale, on which device."""

from __future__ import annotations

import logging
import math
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from frugalseg import __version__
from frugalseg.engines.torch import has_bf16
from frugalseg.errors import ConfigError, InputError, Problem
from frugalseg.familiarity import Familiarity, appearance, learn_familiarity
from frugalseg.images import (
    Dataset,
    LoadedSample,
    Sample,
    load_sample,
    median_object_diameter,
    open_dataset,
    split_validation,
)
from frugalseg.images.dataset import NO_GROUPS
from frugalseg.instances import InstanceSettings
from frugalseg.model_files import ModelCard
from frugalseg.nets import NETS
from frugalseg.processor import usable_threads
from frugalseg.segmentation import resize_image, resize_labels
from frugalseg.stain import Stain, mean_stain, measure_stain
from frugalseg.train.config import TrainConfig
from frugalseg.train.loop import Place
from frugalseg.train.patches import PreparedImage

log = logging.getLogger(__name__)

SMALLEST_SCALE, LARGEST_SCALE = 0.001, 2.0
"""Images are never enlarged more than this: beyond, the network would only see interpolation."""

LARGEST_LABEL = 1 << 24  # patches carry labels as float32


@dataclass(frozen=True)
class DataChoice:
    """Where the annotated images are and how they are read; the arguments of :func:`frugalseg.images.open_dataset`."""

    root: Path
    subset: str | None = None
    groups: Path | None = None
    ignore_value: int | None = None


@dataclass(frozen=True)
class Plan:
    """Everything decided before the first step."""

    config: TrainConfig
    choice: DataChoice
    dataset: Dataset
    train: tuple[Sample, ...]
    validation: tuple[Sample, ...]
    card: ModelCard
    place: Place

    def describe(self) -> dict[str, Any]:
        """What the run folder remembers of the data and the machine."""
        return {
            "data": {
                "root": str(self.choice.root.resolve()),
                "subset": self.choice.subset,
                "groups": _groups_to_keep(self.choice.groups),
                "ignore_value": self.choice.ignore_value,
                "layout": self.dataset.layout,
                "sha256": self.dataset.content_hash(),
                "train": [sample.name for sample in self.train],
                "validation": [sample.name for sample in self.validation],
            },
            "environment": {
                "frugalseg": __version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
                "threads": torch.get_num_threads(),
                "device": str(self.place.device),
                "bf16": self.place.bf16,
            },
        }


def _groups_to_keep(groups: Path | None) -> str | None:
    """The table's full path, so that a run can be reopened from anywhere; the word ``none`` stays a word."""
    return None if groups is None else "none" if str(groups) == "none" else str(groups.resolve())


def open_training_data(choice: DataChoice, config: TrainConfig) -> Dataset:
    """Open the data set, its subset ``train`` if it has one and no other is asked for."""

    def opened(subset: str | None) -> Dataset:
        return open_dataset(
            choice.root,
            subset=subset,
            groups=choice.groups,
            ignore_value=choice.ignore_value,
            pixel_size_um=config.pixel_size_um,
        )

    dataset = opened(choice.subset)
    if choice.subset is None and dataset.training_subset is not None:
        left_out = ", ".join(f"{name} {count}" for name, count in dataset.subsets.items() if name != "train")
        log.info("training on the subset train; left out: %s", left_out)
        dataset = opened(dataset.training_subset)  # what is common to its images, and what they lack
    if not dataset.labelled:
        raise InputError(choice.root, "has no annotated image to train on")
    check_names(dataset)
    return dataset


def check_names(dataset: Dataset) -> None:
    """Refuse data whose annotated images cannot be told apart by name.

    Raises
    ------
    InputError
        Images of several subsets have one name.
    """
    names = Counter(sample.name for sample in dataset.labelled)
    if doubled := [name for name, count in names.items() if count > 1]:
        raise InputError(dataset.root, f"has {doubled[0]!r} in several subsets; choose one with --subset")


def log_notes(dataset: Dataset, *, divided: bool) -> None:
    """Warn of what the data lack, a line each: masks, a common pixel size, and groups where images are held out."""
    for note in dataset.notes:
        if divided or note != NO_GROUPS:
            log.warning("%s", note)


def load_samples(dataset: Dataset, samples: Sequence[Sample]) -> list[LoadedSample]:
    """Decode samples; all that cannot be read are named at once."""
    loaded: list[LoadedSample] = []
    problems: list[Problem] = []
    for sample in samples:
        try:
            loaded.append(load_sample(dataset, sample))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError.of(problems)
    notes = [note for sample in loaded for note in sample.notes]
    for note in notes[:3]:
        log.warning("%s", note)
    if len(notes) > 3:
        log.warning("… and %d more such notes", len(notes) - 3)
    return loaded


def choose_validation(dataset: Dataset, config: TrainConfig) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Training and validation samples; no validation where a split would leave either side empty."""
    samples = dataset.labelled
    if config.validation <= 0 or len(samples) < 2:
        return samples, ()
    train, held_out = split_validation(samples, config.validation, seed=config.seed)
    if not len(train) or not len(held_out):
        log.warning("too few images or groups to hold any out: no validation curve")
        return samples, ()
    return tuple(samples[i] for i in train), tuple(samples[i] for i in held_out)


def build_card(dataset: Dataset, loaded: Sequence[LoadedSample], config: TrainConfig) -> ModelCard:
    """Derive the image scale and the debris size from the training objects' median diameter."""
    if config.net not in NETS:
        raise ConfigError("net", f"no network {config.net!r}")
    diameter = median_object_diameter([sample.labels for sample in loaded])
    if not math.isfinite(diameter) or diameter <= 0:
        raise InputError(dataset.root, "has no annotated object to learn from")
    scale = choose_scale(diameter, config)
    median_area = math.pi / 4 * (diameter * scale) ** 2
    min_area = config.debris * median_area
    log.info("median object %.0f px wide; images are scaled by %.3g; debris is below %.0f px²",
             diameter, scale, min_area / scale**2)  # fmt: skip
    return ModelCard(
        net=config.net,
        class_names=dataset.class_names,
        scale=scale,
        pixel_size_um=dataset.pixel_size_um,
        object_diameter_px=round(diameter, 2),
        instances=InstanceSettings(
            border_weight=config.border_weight,
            min_area=round(min_area, 2),
            min_confidence=config.min_confidence,
            **cutting_rules(config, median_area),
        ),
        familiarity=_familiarity(loaded, scale),
        stain=training_stain(loaded, scale) if config.stain_matching else None,
    )


def cutting_rules(config: TrainConfig, median_area: float) -> dict[str, Any]:
    """What :class:`InstanceSettings` are told of cutting objects apart, for a median object of so many pixels."""
    return {
        "core_threshold": config.core_threshold,
        "fragment_area": round(config.fragment * median_area, 2),
        "fragment_edge": config.fragment_edge,
        "opening_radius": config.opening_px,
    }


def _familiarity(loaded: Sequence[LoadedSample], scale: float) -> Familiarity | None:
    """How the training images look at the network's scale, each counted once."""
    images = {sample.name: sample.image for sample in loaded}
    return learn_familiarity([appearance(resize_image(image, scale)) for image in images.values()])


def training_stain(loaded: Sequence[LoadedSample], scale: float) -> Stain | None:
    """The middle stain of the training images at the network's scale, each counted once; None unless most have one."""
    images = {sample.name: sample.image for sample in loaded}
    found = [measure_stain([resize_image(image, scale)]) for image in images.values()]
    stains = [stain for stain in found if stain is not None]
    return mean_stain(stains) if 2 * len(stains) > len(found) else None


def choose_scale(diameter_px: float, config: TrainConfig) -> float:
    """Factor from image pixels to the network's, for objects of this median diameter."""
    wanted = config.object_diameter_px or NETS[config.net].default_object_diameter_px
    scale = config.image_scale or min(LARGEST_SCALE, round(wanted / diameter_px, 3))
    if scale < SMALLEST_SCALE:
        name = "image_scale" if config.image_scale else "object_diameter_px"
        raise ConfigError(name, f"scales images by {scale:g}, below {SMALLEST_SCALE}: objects are {diameter_px:.4g} px")
    return scale


def prepare(sample: LoadedSample, scale: float) -> PreparedImage:
    """Bring one image to the network's scale and number its objects 1…n."""
    image = resize_image(sample.image, scale)
    labels = resize_labels(sample.labels, *image.shape[:2])
    values = np.unique(sample.labels[sample.labels > 0])
    if len(values) >= LARGEST_LABEL:
        raise InputError(sample.name, f"has {len(values)} objects, more than training can tell apart")
    compact = np.where(labels > 0, np.searchsorted(values, labels) + 1, labels).astype(np.int32)
    lookup = np.array([0, *(sample.object_classes[int(value)] + 1 for value in values)], dtype=np.int64)
    return PreparedImage(sample.name, image, compact, lookup)


def check_batches(config: TrainConfig) -> None:
    """Refuse batches whose coarsest feature map is a single value, which batch normalisation cannot train on."""
    stride = NETS[config.net].stride
    if config.batch_size == 1 and config.patch_px <= stride:
        raise ConfigError("patch_px", f"must be above {stride} for {config.net!r} where batch_size is 1")


def choose_place(config: TrainConfig) -> Place:
    """Device and precision, and the number of threads, which is set for the whole process."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device", "cuda asked for, but torch finds no CUDA device")
    use_cuda = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
    device = torch.device("cuda" if use_cuda else "cpu")
    torch.set_num_threads(config.threads or usable_threads())
    bf16 = config.precision == "bf16" or (config.precision == "auto" and has_bf16(device))
    return Place(device, bf16)


def named(
    dataset: Dataset, split: tuple[Sequence[str], Sequence[str]]
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Annotated samples by their names: those to train on, those held out; ``KeyError`` for one that is not there."""
    by_name = {sample.name: sample for sample in dataset.labelled}
    train, held_out = split
    return tuple(by_name[name] for name in train), tuple(by_name[name] for name in held_out)
