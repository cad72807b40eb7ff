"""Data layouts: each finder looks at a folder and says which images and masks it holds, or that it is none of its kind.

Finders look at names only; headers are read afterwards by :mod:`frugalseg.images.dataset`. They are asked in the order
of ``LAYOUTS``, the most specific first.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from frugalseg.errors import InputError, Problem
from frugalseg.images.guard import system_reason
from frugalseg.images.names import image_stem, is_image_name, is_mask_name, is_text, mask_ending, masked_stem
from frugalseg.images.samples import Sample

ALL = "all"
"""Subset of images that belong to none in particular."""

_PAIRS = {"images": ("masks", "labels"), "image": ("mask", "label"), "imgs": ("masks", "labels")}
_GLAS_SUBSET = re.compile(r"(train|testA|testB)_\d+$")


@dataclass
class Found:
    """What a finder made of a folder; problems are gathered, not raised."""

    layout: str
    samples: list[Sample] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    class_names: tuple[str, ...] = ("object",)
    semantic: dict[int, int] | None = None
    ignore_value: int | None = None
    table_folders: list[Path] = field(default_factory=list)

    def blame(self, where: Path, reason: str) -> None:
        """Note a problem of a file."""
        self.problems.append(Problem(str(where), reason))


@dataclass(frozen=True)
class Listing:
    """Entries of a folder, by name; `problems` are links that lead nowhere."""

    images: tuple[Path, ...]
    folders: tuple[Path, ...]
    problems: tuple[Problem, ...]


def list_folder(folder: Path) -> Listing:
    """Images and folders in a folder, hidden ones left out.

    Raises
    ------
    InputError
        The folder cannot be listed.
    """
    images, folders, problems = [], [], []
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(folder, system_reason(error)) from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        try:
            entry.stat()
        except OSError as error:
            if is_image_name(entry) or not isinstance(error, FileNotFoundError):
                broken = "is a broken or circular link" if os.path.islink(entry) else system_reason(error)
                problems.append(Problem(str(entry), broken))
            continue
        if entry.is_dir():
            folders.append(entry)
        elif is_image_name(entry) and not entry.is_file():  # opening a named pipe would wait for ever
            problems.append(Problem(str(entry), "is not a regular file"))
        elif is_image_name(entry) and not is_text(entry.name):
            problems.append(Problem(str(entry), "has a name that is not UTF-8 text; rename it"))
        elif is_image_name(entry):
            images.append(entry)
    return Listing(tuple(images), tuple(folders), tuple(problems))


def by_stem(paths: Iterable[Path], found: Found, *, stem: Callable[[Path], str] = image_stem) -> dict[str, Path]:
    """Files by stem (or what else `stem` makes of them); two that agree are a problem."""
    result: dict[str, Path] = {}
    for path in paths:
        key = stem(path)
        if key in result:
            found.blame(path, f"stands for {key}, as {result[key].name} already does")
        else:
            result[key] = path
    return result


def _folder_of(listing: Listing, *names: str) -> Path | None:
    return next((folder for name in names for folder in listing.folders if folder.name.lower() == name), None)


def find_folders(root: Path) -> Found | None:
    """``images/`` beside ``masks/`` (or ``labels/``), in the folder itself or in its subfolders (subsets).

    Where ``masks/`` holds a folder for each class, an image missing from one of them has no object of that class.
    """
    listing = list_folder(root)
    here = _image_and_mask_folders(listing)
    if here:
        pairs = [(ALL, *here)]
    elif listing.images:
        return None
    else:
        inner = [(folder, _image_and_mask_folders(list_folder(folder))) for folder in listing.folders]
        pairs = [(folder.name, *pair) for folder, pair in inner if pair]
    if not pairs:
        return None
    found = Found("images + masks", problems=list(listing.problems))
    for subset, images, masks in pairs:
        _pair_folders(found, root, subset, images, masks)
    return found


def _image_and_mask_folders(listing: Listing) -> tuple[Path, Path] | None:
    for image_name, mask_names in _PAIRS.items():
        images, masks = _folder_of(listing, image_name), _folder_of(listing, *mask_names)
        if images and masks:
            return images, masks
    return None


def _pair_folders(found: Found, root: Path, subset: str, image_folder: Path, mask_folder: Path) -> None:
    images, masks = list_folder(image_folder), list_folder(mask_folder)
    found.problems += [*images.problems, *masks.problems]
    found.table_folders.append(mask_folder)
    image_of = by_stem(images.images, found)
    classes = [(folder, list_folder(folder)) for folder in masks.folders]
    classes = [(folder, listing) for folder, listing in classes if listing.images]
    mask_of: dict[str, Path | tuple[Path, ...]] = {}
    if classes and masks.images:
        found.blame(mask_folder, f"holds masks and also folders of masks ({classes[0][0].name}): one or the other")
    elif classes:
        gathered: dict[str, list[Path]] = defaultdict(list)
        for _, listing in classes:
            found.problems += listing.problems
            for stem, path in _masks_by_image(listing.images, image_of, found).items():
                gathered[stem].append(path)
        mask_of = {stem: tuple(paths) for stem, paths in gathered.items()}
        found.class_names = tuple(sorted({*_known(found.class_names), *(folder.name for folder, _ in classes)}))
    else:
        mask_of = dict(_masks_by_image(masks.images, image_of, found))
    _add_pairs(found, root, image_of, mask_of, lambda name: subset)


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    """Class names found so far, not the default."""
    return () if names == ("object",) else names


def _masks_by_image(masks: Iterable[Path], image_of: dict[str, Path], found: Found) -> dict[str, Path]:
    """Masks by the stem of their image: equal, or with an ending such as ``_mask``."""
    return by_stem(
        masks, found, stem=lambda path: image_stem(path) if image_stem(path) in image_of else masked_stem(path)
    )


def _add_pairs(
    found: Found,
    root: Path,
    image_of: dict[str, Path],
    mask_of: dict[str, Path | tuple[Path, ...]],
    subset_of: Callable[[str], str],
) -> None:
    """Turn images and masks, both by stem, into samples; a mask without an image is a problem."""
    for stem, image in image_of.items():
        found.samples.append(Sample(stem, image, mask_of.get(stem), subset_of(stem)))
    for stem, mask in mask_of.items():
        if stem not in image_of:
            for path in mask if isinstance(mask, tuple) else (mask,):
                found.blame(path, f"is a mask without an image (no image named {stem})")


def image_folders(root: Path) -> list[tuple[Path, Listing]]:
    """The folder itself where it holds images, else its subfolders that do."""
    listing = list_folder(root)
    if listing.images:
        return [(root, listing)]
    inner = [(folder, list_folder(folder)) for folder in listing.folders]
    with_images = [(folder, inside) for folder, inside in inner if inside.images or inside.problems]
    return with_images if with_images else [(root, listing)]


def grade_file(root: Path) -> Path | None:
    """GlaS' Grade.csv, in the folder or the one above it."""
    candidates = (root / "Grade.csv", root.absolute().parent / "Grade.csv")
    return next((path for path in candidates if os.path.isfile(path)), None)  # False, unlike pathlib, where forbidden


def find_glas(root: Path) -> Found | None:
    """GlaS as released: ``train_1.bmp``, ``train_1_anno.bmp``, …, in one folder or one for each subset."""
    names = [path for _, listing in image_folders(root) for path in listing.images]
    annotated = any(mask_ending(path) == "_anno" for path in names)
    graded = grade_file(root) is not None and any(_GLAS_SUBSET.search(image_stem(path)) for path in names)
    return _find_beside(root, "GlaS") if annotated or graded else None


def find_cellpose(root: Path) -> Found | None:
    """Cellpose: ``x.png`` and ``x_masks.png`` in one folder; also ``x_img.png``, ``x_mask.png``, ``x_labels.png``."""
    beside = any(is_mask_name(path) for _, listing in image_folders(root) for path in listing.images)
    return _find_beside(root, "Cellpose") if beside else None


def find_plain(root: Path) -> Found | None:
    """Images without masks."""
    return _find_beside(root, "images without masks")


def _find_beside(root: Path, layout: str) -> Found:
    """Masks that lie beside their images, told from them by the ends of their stems."""
    found = Found(layout)
    for folder, listing in image_folders(root):
        found.problems += listing.problems
        found.table_folders.append(folder)
        image_of = by_stem([path for path in listing.images if not is_mask_name(path)], found)
        masks = [path for path in listing.images if is_mask_name(path)]

        def owner(path: Path, image_of: dict[str, Path] = image_of) -> str:
            stem = masked_stem(path)
            return f"{stem}_img" if stem not in image_of and f"{stem}_img" in image_of else stem

        mask_of: dict[str, Path | tuple[Path, ...]] = dict(by_stem(masks, found, stem=owner))
        default = ALL if folder == root or folder.name.lower() in _PAIRS else folder.name

        def subset(name: str, default: str = default) -> str:
            match = _GLAS_SUBSET.match(name)
            return match[1] if match and layout == "GlaS" else default

        _add_pairs(found, root, image_of, mask_of, subset)
    if not found.samples and not found.problems:
        found.blame(root, "holds no images (PNG, JPEG, BMP or TIFF)")
    return found
