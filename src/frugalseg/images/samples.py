"""What a data set is: samples, each an image with its mask, and how one of them is loaded."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from frugalseg.arrays import UNKNOWN, Image, LabelMap
from frugalseg.errors import InputError
from frugalseg.images.decode import decode, read_image, to_rgb
from frugalseg.images.labels import read_stored_labels
from frugalseg.images.names import shown
from frugalseg.images.objects import doubt_of, is_binary, split_components


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    `mask` is None without annotation, a tuple where each class has a mask of its own (its folder names the class).
    `window` is the part (x, y, width, height) of image and mask that counts; of what lies outside nothing is known.
    `channels` holds the three files of an image whose channels are split, `image` is then the first of them. `size` is
    (height, width); `category` is what Grade.csv says of the tissue (``benign``, ``malignant``).
    """

    name: str
    image: Path
    mask: Path | tuple[Path, ...] | None
    subset: str
    group: str | None = None
    category: str | None = None
    channels: tuple[Path, ...] = ()
    size: tuple[int, int] = (0, 0)
    bits: int = 8
    pixel_size_um: float | None = None
    window: tuple[int, int, int, int] | None = None

    @property
    def labelled(self) -> bool:
        """Whether there is a mask."""
        return self.mask is not None

    @property
    def masks(self) -> tuple[Path, ...]:
        """All mask files, of which there may be none."""
        return () if self.mask is None else (self.mask,) if isinstance(self.mask, Path) else self.mask

    @property
    def images(self) -> tuple[Path, ...]:
        """All image files: one, or one for each channel."""
        return self.channels or (self.image,)


@dataclass(frozen=True)
class Dataset:
    """The images of a folder, whatever its layout.

    `semantic` maps stored values to class indices where masks hold classes instead of objects (nnU-Net);
    `object_table` gives for an image's name the class index of each of its stored labels. With `whole_objects` a label
    is one object whatever its pieces; else the pieces of a mask's only label are objects (black-and-white masks).
    """

    root: Path
    layout: str
    samples: tuple[Sample, ...]
    class_names: tuple[str, ...] = ("object",)
    pixel_size_um: float | None = None
    notes: tuple[str, ...] = ()
    ignore_value: int | None = None
    semantic: Mapping[int, int] | None = None
    object_table: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    whole_objects: bool = False

    @property
    def labelled(self) -> tuple[Sample, ...]:
        """Samples with a mask, in order."""
        return tuple(sample for sample in self.samples if sample.labelled)

    @property
    def unlabelled(self) -> tuple[Sample, ...]:
        """Samples without a mask, in order."""
        return tuple(sample for sample in self.samples if not sample.labelled)

    @property
    def subsets(self) -> dict[str, int]:
        """Number of images of each subset."""
        return dict(sorted(Counter(sample.subset for sample in self.samples).items()))

    @property
    def training_subset(self) -> str | None:
        """The subset to take images from where none is named: ``train`` if it is one of several, else all."""
        return "train" if "train" in self.subsets and len(self.subsets) > 1 else None

    @property
    def grouped(self) -> bool:
        """Whether every labelled sample has a group."""
        return bool(self.labelled) and all(sample.group is not None for sample in self.labelled)

    def describe(self) -> str:
        """One line for the log: layout, images, subsets, the size of a pixel where it is known."""
        subsets = ", ".join(f"{name} {count}" for name, count in self.subsets.items())
        size = "" if self.pixel_size_um is None else f", pixels of {self.pixel_size_um:g} µm"
        images = f"{len(self.samples)} images, {len(self.labelled)} with mask ({subsets})"
        return f"{self.root}: layout {self.layout}, {images}{size}"

    def content_hash(self) -> str:
        """SHA-256 over names and bytes of all files, and what else decides the objects; not over where they lie."""
        digest = hashlib.sha256()
        settings: list[Any] = [self.ignore_value, self.class_names, sorted((self.semantic or {}).items())]
        settings += [True] if self.whole_objects else []
        digest.update(json.dumps(settings).encode())
        for sample in sorted(self.samples, key=lambda each: (each.subset, each.name)):
            table = sorted(self.object_table.get(sample.name, {}).items())
            window = [] if sample.window is None else [sample.window]
            digest.update(json.dumps([sample.subset, sample.name, sample.group, table, *window]).encode())
            for path in (*sample.images, *sample.masks):
                with path.open("rb") as stream:
                    content = hashlib.file_digest(stream, "sha256").digest()
                digest.update(
                    json.dumps(shown(self.root, path) if path.is_relative_to(self.root) else path.name).encode()
                )
                digest.update(content)
        return digest.hexdigest()


@dataclass(frozen=True)
class LoadedSample:
    """One image in memory. `labels` are ``UNKNOWN`` everywhere without a mask; `notes` are warnings, a line each."""

    name: str
    image: Image
    labels: LabelMap
    object_classes: dict[int, int]
    pixel_size_um: float | None
    notes: tuple[str, ...] = ()


def load_sample(dataset: Dataset, sample: Sample) -> LoadedSample:
    """Decode a sample's image and mask.

    Parameters
    ----------
    dataset
        Where the sample is from; says how stored labels become objects.
    sample
        One of its samples.

    Returns
    -------
    LoadedSample
        With the class (from 0) of every object.

    Raises
    ------
    InputError
        A file is damaged, or holds what no image or label map may hold.
    """
    image = load_image(sample)
    pixel_size = dataset.pixel_size_um if dataset.pixel_size_um is not None else sample.pixel_size_um
    if sample.mask is None:
        nothing = np.full(image.shape[:2], UNKNOWN, dtype=np.int32)
        return LoadedSample(sample.name, image, nothing, {}, pixel_size)
    if dataset.semantic is not None:
        labels, classes, notes = _load_semantic(dataset, sample)
    elif isinstance(sample.mask, tuple):
        labels, classes, notes = _load_class_masks(dataset, sample.mask)
    else:
        labels, classes, notes = _load_objects(dataset, sample, sample.mask)
    whole = sample.size if sample.window is not None else image.shape[:2]
    if labels.shape != whole:
        raise InputError(sample.masks[0], f"has the shape {labels.shape}, its image {whole}")
    if sample.window is not None:
        labels = _cropped(labels, sample)
        inside = set(np.unique(labels).tolist())
        classes = {label: index for label, index in classes.items() if label in inside}
    return LoadedSample(sample.name, image, labels, classes, pixel_size, notes)


def load_image(sample: Sample) -> Image:
    """Decode a sample's image alone, shape (H, W, 3), its window where it has one; the mask is not looked at.

    Raises
    ------
    InputError
        The file is damaged.
    """
    return _cropped(_load_image(sample), sample)


class WindowReader:
    """Reads samples, and decodes an image once where windows of it follow each other; it keeps the last one."""

    def __init__(self) -> None:
        self._last: tuple[tuple[Path, ...], Image] | None = None

    def load(self, sample: Sample) -> Image:
        """As :func:`load_image`."""
        if sample.window is None:
            return load_image(sample)
        files = (sample.image, *sample.channels)
        if self._last is None or self._last[0] != files:
            self._last = None  # so that memory holds one image, not two
            self._last = files, _load_image(sample)
        return _cropped(self._last[1], sample)


_Cropped = TypeVar("_Cropped", bound=NDArray[Any])


def _cropped(array: _Cropped, sample: Sample) -> _Cropped:
    if sample.window is None:
        return array
    x, y, width, height = sample.window
    if min(x, y) < 0 or min(width, height) < 1 or y + height > array.shape[0] or x + width > array.shape[1]:
        raise InputError(sample.image, f"has no window {sample.window}, it is {array.shape[1]} x {array.shape[0]}")
    return cast(_Cropped, np.ascontiguousarray(array[y : y + height, x : x + width]))


_Loaded = tuple[LabelMap, dict[int, int], tuple[str, ...]]


def _load_image(sample: Sample) -> Image:
    if not sample.channels:
        return read_image(sample.image)
    planes = [decode(path, colours=True)[0] for path in sample.channels]
    for path, plane in zip(sample.channels, planes, strict=True):
        if plane.ndim != 2:
            raise InputError(path, f"has {plane.shape[2]} channels, but is one of {len(planes)} channel files")
        if plane.shape != planes[0].shape:
            raise InputError(path, "differs in size from the other channels of its image")
    return to_rgb(np.stack(planes, axis=-1), sample.image)


def _load_objects(dataset: Dataset, sample: Sample, mask: Path) -> _Loaded:
    """One label map; its classes are looked up in the table, else all are class 0."""
    labels = read_stored_labels(mask, ignore_value=dataset.ignore_value)
    notes: tuple[str, ...] = ()
    stored = {int(label): int(label) for label in np.unique(labels[labels > 0])}
    if is_binary(labels) and not dataset.whole_objects:
        labels, stored = split_components(labels)
        notes = (
            f"{mask.name}: one label for all objects; its {len(stored)} connected components are taken as objects",
        )
    elif not dataset.whole_objects and (doubt := doubt_of(labels)):
        notes = (f"{mask.name}: {doubt}",)
    if not dataset.object_table:
        return labels, dict.fromkeys(stored, 0), notes
    table = dataset.object_table.get(sample.name, {})
    missing = sorted(set(stored.values()) - set(table))
    if missing:
        raise InputError(mask, f"object {', '.join(map(str, missing[:5]))} has no class in classes.csv")
    return labels, {label: table[value] for label, value in stored.items()}, notes


def _load_semantic(dataset: Dataset, sample: Sample) -> _Loaded:
    """Stored values are classes; the connected components of each are objects."""
    semantic = dataset.semantic or {}
    mask = sample.masks[0]
    stored = read_stored_labels(mask, ignore_value=dataset.ignore_value)
    unexpected = sorted(set(np.unique(stored[stored > 0]).tolist()) - set(semantic))
    if unexpected:
        raise InputError(
            mask, f"holds the value {', '.join(map(str, unexpected[:5]))}, which dataset.json does not name"
        )
    labels, origin = split_components(stored)
    return labels, {label: semantic[value] for label, value in origin.items()}, ()


def _load_class_masks(dataset: Dataset, masks: Sequence[Path]) -> _Loaded:
    """A mask for each class; where two claim a pixel, the class named later keeps it."""
    merged: LabelMap | None = None
    unknown = None
    classes: dict[int, int] = {}
    notes: list[str] = []
    contested = 0
    for mask in masks:
        labels = read_stored_labels(mask, ignore_value=dataset.ignore_value)
        if is_binary(labels):
            labels, origin = split_components(labels)
            notes.append(f"{mask.parent.name}/{mask.name}: {len(origin)} connected components are taken as objects")
        merged = np.zeros_like(labels) if merged is None else merged
        unknown = np.zeros(labels.shape, dtype=bool) if unknown is None else unknown
        if labels.shape != merged.shape:
            raise InputError(mask, "differs in size from the masks of the other classes")
        inside = labels > 0
        values, numbers = np.unique(labels[inside], return_inverse=True)
        contested += int(np.count_nonzero(merged[inside]))
        first = len(classes) + 1
        merged[inside] = numbers + first
        unknown |= labels == UNKNOWN
        classes.update(dict.fromkeys(range(first, first + len(values)), dataset.class_names.index(mask.parent.name)))
    if merged is None or unknown is None:
        raise ValueError("a sample with class masks needs at least one")
    merged[unknown & (merged == 0)] = UNKNOWN
    if contested:
        notes.append(f"{masks[0].name}: {contested} pixels belong to two classes; the later one keeps them")
    left = set(np.unique(merged[merged > 0]).tolist())
    return merged, {label: index for label, index in classes.items() if label in left}, tuple(notes)
