"""Opening a folder as a data set: find the layout, read every header, list every problem."""

from __future__ import annotations

import logging
import os
import statistics
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from frugalseg.errors import InputError
from frugalseg.images.headers import Header, read_header
from frugalseg.images.labels import check_label_header
from frugalseg.images.layouts import Found, find_cellpose, find_folders, find_glas, find_plain, grade_file
from frugalseg.images.listing import FoundListing, find_listing
from frugalseg.images.nnunet import find_nnunet
from frugalseg.images.samples import Dataset, Sample
from frugalseg.images.tables import read_classes, read_grades, read_groups

_log = logging.getLogger(__name__)

LAYOUTS: dict[str, Callable[[Path], Found | None]] = {
    "listing": find_listing,
    "nnunet": find_nnunet,
    "folders": find_folders,
    "glas": find_glas,
    "cellpose": find_cellpose,
    "plain": find_plain,
}
"""Finders of layouts, in the order in which they are asked; the first that finds its own decides."""

GLAS_PIXEL_UM = 0.62
"""Pixel size of the GlaS images (20x, the challenge's page)."""

NO_GROUPS = "no groups: validation splits by image, so images of one patient may lie on both sides (--groups FILE.csv)"
"""What is noted of data without groups."""

SAME_SIZE = 0.01
"""Pixel sizes no further apart, as a share of the smaller, are taken for one that was measured with an error."""


def open_dataset(
    root: Path,
    *,
    subset: str | None = None,
    groups: Path | str | None = None,
    ignore_value: int | None = None,
    pixel_size_um: float | None = None,
) -> Dataset:
    """Open a folder of images and masks; nothing is decoded.

    Parameters
    ----------
    root
        GlaS, ``images/`` + ``masks/``, Cellpose, nnU-Net raw, or images only.
    subset
        Only this part (``train``, ``testA``, the name of a subfolder); None takes all.
    groups
        CSV file with columns image and group; ``"none"`` leaves the patients of GlaS' Grade.csv unused.
    ignore_value
        Value of mask pixels that nobody annotated.
    pixel_size_um
        Edge of a pixel in µm, overrides what the files say.

    Returns
    -------
    Dataset
        Samples ordered by name, with sizes; warnings in its notes.

    Raises
    ------
    InputError
        With every problem found: unreadable, truncated, oversized or unfit files, masks without an image, sizes that
        differ, doubled stems, tables that do not fit.
    """
    root = Path(root)
    if not os.path.isdir(root):
        broken = "is a broken or circular link" if os.path.islink(root) else "does not exist"
        raise InputError(root, "is not a folder" if os.path.exists(root) else broken)
    found = next(filter(None, (find(root) for find in LAYOUTS.values())))
    if subset is not None:
        _select(found, root, subset)
    samples = [_with_headers(sample, found) for sample in found.samples]
    samples = _with_grades(samples, found, root, use_patients=groups is None)
    if groups is not None and str(groups) != "none":
        samples = _with_groups(samples, found, Path(groups))
    listed = found if isinstance(found, FoundListing) else FoundListing(found.layout)
    table = _class_table(found, root, samples) if listed.object_table is None else listed.object_table
    if found.problems:
        raise InputError.of(found.problems)
    dataset = Dataset(
        root=root,
        layout=found.layout,
        samples=tuple(samples),
        class_names=found.class_names,
        pixel_size_um=pixel_size_um or listed.pixel_size_um or _pixel_size(samples, found, root),
        ignore_value=found.ignore_value if ignore_value is None else ignore_value,
        semantic=found.semantic,
        object_table=table,
        whole_objects=listed.whole_objects,
    )
    dataset = replace(dataset, notes=(*found.notes, *_notes(dataset)))
    _log.info("%s", dataset.describe())
    return dataset


def _select(found: Found, root: Path, subset: str) -> None:
    known = sorted({sample.subset for sample in found.samples})
    found.samples = [sample for sample in found.samples if sample.subset == subset]
    if not found.samples:
        raise InputError(root, f"has no subset {subset!r}, only: {', '.join(known) or 'none'}")


def _with_headers(sample: Sample, found: Found) -> Sample:
    """Fill size, depth and pixel size in from the headers; whatever is wrong with the files becomes a problem."""
    images = [_header(path, found) for path in sample.images]
    masks = [_header(path, found, mask=True) for path in sample.masks]
    first = images[0]
    if first is None:
        return sample
    size = (first.height, first.width)
    for header in (*images[1:], *masks):
        if header is not None and (header.height, header.width) != size:
            reason = (
                f"is {header.width} x {header.height}, its image {first.path.name} is {first.width} x {first.height}"
            )
            found.blame(header.path, reason)
    return replace(sample, size=size, bits=first.bits, pixel_size_um=first.pixel_size_um)


def _header(path: Path, found: Found, *, mask: bool = False) -> Header | None:
    try:
        header = read_header(path)
        if mask:
            check_label_header(header)
    except InputError as error:
        found.problems += error.problems
        return None
    return header


def _with_grades(samples: list[Sample], found: Found, root: Path, *, use_patients: bool) -> list[Sample]:
    """Patients as groups, and grades, from GlaS' Grade.csv."""
    path = grade_file(root) if found.layout == "GlaS" else None
    if path is None:
        return samples
    try:
        grades = read_grades(path)
    except InputError as error:
        found.problems += error.problems
        return samples
    result = []
    for sample in samples:
        grade = grades.get(sample.name)
        if grade is not None:
            patient = grade.patient if use_patients else None
            sample = replace(sample, group=patient, category=grade.category)
        result.append(sample)
    missing = [sample.name for sample in samples if sample.name not in grades]
    if missing:
        found.notes.append(f"{_count(missing, 'image')} not in {path.name}: {_few(missing)}")
    return result


def _with_groups(samples: list[Sample], found: Found, path: Path) -> list[Sample]:
    try:
        group_of = read_groups(path, {sample.name for sample in samples})
    except InputError as error:
        found.problems += error.problems
        return samples
    missing = [sample.name for sample in samples if sample.labelled and sample.name not in group_of]
    if missing:
        found.blame(path, f"gives no group for {_count(missing, 'image')}: {_few(missing)}")
    return [replace(sample, group=group_of.get(sample.name)) for sample in samples]


def _class_table(found: Found, root: Path, samples: list[Sample]) -> dict[str, dict[int, int]]:
    """The table of object classes, where there is one."""
    folders = dict.fromkeys([root, *found.table_folders])
    path = next((folder / "classes.csv" for folder in folders if os.path.isfile(folder / "classes.csv")), None)
    if path is None:
        return {}
    if found.class_names != ("object",):
        found.notes.append(f"{path.name} is not used: the layout already gives the classes")
        return {}
    try:
        found.class_names, table = read_classes(path, {sample.name for sample in samples})
    except InputError as error:
        found.problems += error.problems
        return {}
    missing = [sample.name for sample in samples if sample.labelled and sample.name not in table]
    if missing:
        found.notes.append(f"{path.name} has no rows for {_count(missing, 'image')}: {_few(missing)}")
    return table


def _pixel_size(samples: list[Sample], found: Found, root: Path) -> float | None:
    """What all files agree on, to a hundredth; the challenge's own for GlaS."""
    sizes = {sample.pixel_size_um for sample in samples}
    if sizes == {None} and found.layout == "GlaS" and grade_file(root) is not None:
        return GLAS_PIXEL_UM
    common = common_pixel_size(sizes)
    if len(sizes) > 1 and common is None:
        listed = ", ".join(f"{size:g} µm" if size else "unknown" for size in sorted(sizes, key=lambda size: size or 0))
        found.notes.append(f"pixel sizes differ ({_few(listed.split(', '))}); no common one is used")
    return common


def common_pixel_size(sizes: Collection[float | None]) -> float | None:
    """The size of an image's pixels in µm if all have the same, to :data:`SAME_SIZE`: the middle one; else None."""
    known = sorted(size for size in sizes if size is not None)
    if not known or len(known) < len(sizes) or known[-1] > known[0] * (1 + SAME_SIZE):
        return None
    return known[0] if known[0] == known[-1] else float(f"{statistics.median(known):.6g}")


def _notes(dataset: Dataset) -> list[str]:
    notes = []
    if dataset.unlabelled:
        without = [sample.name for sample in dataset.unlabelled]
        notes.append(f"{_count(without, 'image')} without a mask, not used in training: {_few(without)}")
    if len(dataset.labelled) > 1 and not dataset.grouped:
        notes.append(NO_GROUPS)
    if len({(sample.subset, sample.name) for sample in dataset.samples}) > len({s.name for s in dataset.samples}):
        notes.append("images of different subsets have the same name; open one subset at a time to predict them")
    return notes


def _count(names: list[str], noun: str) -> str:
    return f"{len(names)} {noun}{'' if len(names) == 1 else 's'}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
