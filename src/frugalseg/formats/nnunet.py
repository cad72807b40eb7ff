"""nnU-Net's raw folder, version 2: images as PNG, semantic labels, ``dataset.json``.

Labels hold classes, not objects: objects of one class that touch cannot be told apart when they are read again.

References
----------
Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation", Nature
Methods 18 (2021); dataset format of version 2, documentation/dataset_format.md in its repository.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from frugalseg.arrays import UNKNOWN
from frugalseg.atomic import atomic_path, write_json
from frugalseg.errors import InputError
from frugalseg.formats.annotated import Annotated, AnnotationSet, Canvas, Wanted, WriteSettings, Written, present_labels
from frugalseg.formats.folder import new_folder
from frugalseg.images import load_sample, open_dataset, read_header, read_image, write_image, write_label_map
from frugalseg.images.objects import split_components


def write_nnunet(out: Path, drawn: AnnotationSet, settings: WriteSettings) -> Written:
    """Write ``imagesTr/NAME_0000.png``, ``labelsTr/NAME.png`` and ``dataset.json``.

    8-bit RGB PNG images are copied byte by byte, all others are converted to that. The label ``ignore`` is there where
    something is not annotated.

    Raises
    ------
    InputError
        The folder holds something, or an image or annotation cannot be read.
    """
    values = {name: value for value, name in enumerate(drawn.class_names, 1)}
    if any(name in ("background", "ignore") for name in values):
        raise InputError(out, "cannot be written: nnU-Net keeps the class names background and ignore for itself")
    ignore = len(values) + 1
    some_unknown, n_objects, n_merged = False, 0, 0
    with new_folder(out) as folder:
        for canvas in drawn.canvases:
            each = drawn.load(canvas)
            present = present_labels(each.labels)
            semantic = _semantic(each, present, values, ignore)
            n_objects += len(present)
            n_merged += max(0, len(present) - len(split_components(np.where(semantic == ignore, 0, semantic))[1]))
            some_unknown |= bool((semantic == ignore).any())
            write_label_map(folder / "labelsTr" / f"{canvas.name}.png", semantic)
            _write_image(folder / "imagesTr" / f"{canvas.name}_0000.png", canvas)
        labels = {"background": 0, **values, **({"ignore": ignore} if some_unknown else {})}
        document = {
            "channel_names": {"0": "R", "1": "G", "2": "B"},
            "labels": labels,
            "numTraining": len(drawn.canvases),
            "file_ending": ".png",
            "overwrite_image_reader_writer": "NaturalImage2DIO",
        }
        write_json(folder / "dataset.json", document)
    notes = ["nnU-Net's labels are classes: objects of one class that touch are one object when read again"]
    if n_merged:
        notes.append(f"at least {n_merged} of {n_objects} objects touch another one of their class")
    return Written(2 * len(drawn.canvases) + 1, len(drawn.canvases), n_objects, tuple(notes))


def _semantic(
    drawn: Annotated, present: list[int], values: dict[str, int], ignore: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    first = next(iter(values.values()))
    class_of = [first if drawn.classes.get(label) is None else values[str(drawn.classes[label])] for label in present]
    result = np.where(drawn.labels == UNKNOWN, np.int32(ignore), np.int32(0))
    inside = drawn.labels > 0
    result[inside] = np.array([0, *class_of], np.int32)[np.searchsorted(present, drawn.labels[inside]) + 1]
    return result


def _write_image(path: Path, canvas: Canvas) -> None:
    header = read_header(canvas.path)
    if (header.container, header.bits, header.channels, header.orientation) == ("png", 8, 3, 1):
        with atomic_path(path) as temporary:
            shutil.copyfile(canvas.path, temporary)
    else:
        write_image(path, read_image(canvas.path), pixel_size_um=canvas.pixel_size_um)


def read_nnunet(path: Path, wanted: Wanted) -> AnnotationSet:
    """Read the masks of a raw folder; every connected component of a class is an object.

    Raises
    ------
    InputError
        No nnU-Net folder, damaged files, masks of images that do not exist. That an image is another one of the same
        name shows when its mask is loaded.
    """
    path = Path(path)
    if not (path / "imagesTr").is_dir():
        raise InputError(path, "is no nnU-Net folder (it has no imagesTr)" if path.exists() else "does not exist")
    dataset = open_dataset(path)
    sample_of = {sample.name: sample for sample in dataset.labelled}
    canvases = wanted.choose(path, {name: sample.masks[0] for name, sample in sample_of.items()}, what="masks")

    def load(canvas: Canvas) -> Annotated:
        loaded = load_sample(dataset, sample_of[canvas.name])
        ours = read_image(canvas.path)
        if loaded.image.shape != ours.shape or not np.array_equal(loaded.image, ours):
            image = sample_of[canvas.name].image
            raise InputError(image, f"is another image than {canvas.name} of this project, so its mask does not fit")
        classes = {label: dataset.class_names[index] for label, index in loaded.object_classes.items()}
        return Annotated(canvas, loaded.labels, classes, notes=loaded.notes)

    return AnnotationSet(canvases, load, dataset.class_names)
