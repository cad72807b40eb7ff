"""Masks of a folder, whatever its layout, as new versions of a project's annotations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from frugalseg.arrays import UNKNOWN, LabelMap
from frugalseg.errors import InputError, Problem
from frugalseg.images import (
    Dataset,
    LoadedSample,
    Sample,
    image_stem,
    is_mask_name,
    load_sample,
    masked_stem,
    open_dataset,
    read_image,
)
from frugalseg.images.dataset import LAYOUTS
from frugalseg.images.layouts import list_folder
from frugalseg.images.tables import read_classes
from frugalseg.project.annotations import Drawing, append, is_same, make_drawing, remove_files, write_version
from frugalseg.project.drafts import window_to_draw
from frugalseg.project.hashing import same_file
from frugalseg.project.lock import project_lock
from frugalseg.project.queries import load_images
from frugalseg.project.records import Imported, ProjectImage, Window
from frugalseg.project.store import Store

SOURCE = "import"


@dataclass(frozen=True)
class _Masks:
    """A data set with masks for images of the project, and the names of its masks for others."""

    dataset: Dataset
    samples: tuple[Sample, ...]
    classes: Mapping[int, int]
    others: tuple[str, ...]
    problems: tuple[Problem, ...] = ()


def import_masks(
    store: Store,
    folder: Path,
    *,
    complete: bool,
    class_names: Sequence[str],
    subset: str | None,
    ignore_value: int | None,
) -> Imported:
    """Append the masks of a folder; see :meth:`frugalseg.project.Project.import_masks`."""
    with project_lock(store.folder):
        with store.read() as session:
            images = {image.name: image for image in load_images(session, store.folder)}
            windows = {name: window_to_draw(session, image) for name, image in images.items()}
        masks = _find(folder, images, class_names, subset, ignore_value)
        sample_of = {sample.name: sample for sample in masks.samples}
        done = append_drawings(
            store,
            [images[name] for name in sample_of],
            lambda image: _drawing(
                masks, sample_of[image.name], image, complete, len(class_names), windows[image.name]
            ),
            masks.problems,
        )
    return replace(done, others=masks.others)


def append_drawings(
    store: Store,
    images: Iterable[ProjectImage],
    draw: Callable[[ProjectImage], tuple[Drawing, tuple[str, ...]]],
    problems: Sequence[Problem] = (),
) -> Imported:
    """Append a version to each image, all of them or none; a drawing that equals its image's current one is skipped.

    The project's lock must be held.

    Parameters
    ----------
    store
        The project.
    images
        Each once.
    draw
        Gives an image's drawing and warnings about it; they are asked for one at a time.
    problems
        Found before: nothing will be kept, but the drawings are looked at for more.

    Raises
    ------
    InputError
        With every problem.
    """
    written: dict[str, dict[str, Any]] = {}
    unchanged: list[str] = []
    notes: list[str] = []
    found = list(problems)
    try:
        for image in images:
            try:
                drawing, told = draw(image)
            except InputError as error:
                found += error.problems
                continue
            notes += told
            if is_same(image.annotation, drawing):
                unchanged.append(image.name)
            elif not found:  # after the first problem nothing will be kept: look at the rest only
                written[image.name] = write_version(store, image, drawing)
        if found:
            raise InputError.of(found)
        with store.write() as session:
            append(session, written)
    except Exception:  # not Ctrl-C, which may come after the rows: files without rows do no harm
        remove_files(store.folder, written.values())
        raise
    return Imported(tuple(written), tuple(unchanged), (), tuple(notes))


def _find(
    folder: Path,
    images: Mapping[str, ProjectImage],
    class_names: Sequence[str],
    subset: str | None,
    ignore_value: int | None,
) -> _Masks:
    """Pair the masks of a folder with the project's images: by its layout, or else by the names of the masks alone."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "is not a folder" if folder.exists() else "does not exist")
    problems: list[Problem] = []
    if _holds_images(folder):
        dataset = open_dataset(folder, subset=subset, ignore_value=ignore_value)
    elif subset is None:
        dataset, problems = _masks_only(folder, images, ignore_value)
    else:
        raise InputError(folder, f"has no subset {subset!r}, it holds masks only")
    if problems and not dataset.labelled:
        raise InputError.of(problems)
    if not dataset.labelled:
        raise InputError(folder, "holds no masks; if they are there, their names tell no image they belong to")
    samples = tuple(sample for sample in dataset.labelled if sample.name in images)
    others = tuple(sample.name for sample in dataset.labelled if sample.name not in images)
    if not samples:
        raise InputError(folder, f"holds no mask for an image of this project ({', '.join(others[:3])}, …)")
    repeated = sorted({sample.name for sample in samples if [each.name for each in samples].count(sample.name) > 1})
    if repeated:
        raise InputError.of(Problem(str(folder), f"holds several masks for {name}; name a subset") for name in repeated)
    return _Masks(dataset, samples, _class_indices(folder, dataset.class_names, class_names), others, tuple(problems))


def _holds_images(folder: Path) -> bool:
    """Whether a folder is a data set of images, and not masks alone."""
    early = [find for name, find in LAYOUTS.items() if name not in ("glas", "cellpose", "plain")]
    if any(find(folder) is not None for find in early):
        return True
    files = list_folder(folder).images
    stems = {image_stem(path) for path in files if not is_mask_name(path)}
    return not files or any(masked_stem(path) in stems for path in files if is_mask_name(path))


def _masks_only(
    folder: Path, images: Mapping[str, ProjectImage], ignore_value: int | None
) -> tuple[Dataset, list[Problem]]:
    """Masks named as the project's images, or with an ending such as ``_anno``; a mask for none is a problem."""
    listing = list_folder(folder)
    problems = list(listing.problems)
    mask_of: dict[str, Path] = {}
    for path in listing.images:
        name = image_stem(path) if image_stem(path) in images else masked_stem(path)
        if name not in images:
            problems.append(Problem(str(path), f"is no mask of this project's images (none is named {name})"))
        elif name in mask_of:
            problems.append(Problem(str(path), f"stands for {name}, as {mask_of[name].name} already does"))
        else:
            mask_of[name] = path
    names: tuple[str, ...] = ("object",)
    table: dict[str, dict[int, int]] = {}
    if (folder / "classes.csv").is_file():
        try:
            names, table = read_classes(folder / "classes.csv", images)
        except InputError as error:
            problems += error.problems
    samples = tuple(
        Sample(name, images[name].path, mask, "all", size=(images[name].height, images[name].width))
        for name, mask in mask_of.items()
    )
    return Dataset(folder, "masks", samples, names, ignore_value=ignore_value, object_table=table), problems


def _class_indices(folder: Path, found: Sequence[str], wanted: Sequence[str]) -> dict[int, int]:
    """For each class of a data set its index in the project; a single class stands for a single class."""
    if len(found) == len(wanted) == 1:
        return {0: 0}
    if set(found) <= set(wanted):
        return {index: wanted.index(name) for index, name in enumerate(found)}
    raise InputError(folder, f"has the classes {', '.join(found)}, this project {', '.join(wanted)}")


def _drawing(
    masks: _Masks, sample: Sample, image: ProjectImage, complete: bool, n_classes: int, asked: Window | None
) -> tuple[Drawing, tuple[str, ...]]:
    """One mask as it will be stored, and warnings about it.

    Where a window of the image was `asked` for, a mask whose objects all lie in it speaks of nothing else.
    """
    loaded = load_sample(masks.dataset, sample)
    if loaded.labels.shape == (image.height, image.width) or sample.window is not None:
        _check_image(loaded, sample, image)
    labels, window = _whole(loaded.labels, sample), sample.window
    told: tuple[str, ...] = ()
    if window is None:
        window, told = window_meant(image, labels, asked)
    drawing = make_drawing(
        image,
        labels,
        complete=complete,
        source=SOURCE,
        window=window,
        object_classes={label: masks.classes[index] for label, index in loaded.object_classes.items()},
        n_classes=n_classes,
    )
    return drawing, (*loaded.notes, *told)


def window_meant(image: ProjectImage, labels: LabelMap, asked: Window | None) -> tuple[Window | None, tuple[str, ...]]:
    """The window that a label map speaks of, the one `asked` for if all lies in it, and what to say of that."""
    if asked is None or labels.shape != (image.height, image.width):
        return None, ()
    if _lies_in(labels, asked):
        return asked, (f"{image.name}: its objects lie in the window that was suggested, and count for that alone",)
    return None, (f"{image.name}: was suggested as a window; its mask is taken for the whole image",)


def _lies_in(labels: LabelMap, window: Window) -> bool:
    """Whether every object lies in a window, with all of its pixels."""
    x, y, w, h = window
    return int((labels > 0).sum()) == int((labels[y : y + h, x : x + w] > 0).sum())


def _check_image(loaded: LoadedSample, sample: Sample, image: ProjectImage) -> None:
    """Refuse the mask of another image that has the same name; the same pixels in another file are welcome."""
    if sample.image == image.path or same_file(sample.image, image.sha256):
        return
    ours = read_image(image.path)
    if sample.window is not None:
        x, y, w, h = sample.window
        ours = ours[y : y + h, x : x + w]
    if not np.array_equal(loaded.image, ours):
        raise InputError(sample.image, f"is another image than {image.name} of this project, so its mask does not fit")


def _whole(labels: LabelMap, sample: Sample) -> LabelMap:
    """The label map of a window laid into one of the whole image."""
    if sample.window is None:
        return labels
    x, y, w, h = sample.window
    whole = np.full(sample.size, UNKNOWN, dtype=np.int32)
    whole[y : y + h, x : x + w] = labels
    return whole
