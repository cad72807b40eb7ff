"""Which image files among files and folders are to be segmented."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from frugalseg.errors import InputError, Problem
from frugalseg.images.headers import read_header
from frugalseg.images.names import image_stem, is_image_name, is_mask_beside, is_mask_name, is_text, subfolder_hint

log = logging.getLogger(__name__)

_CASE_FOLDERS = ("imagesTr", "imagesTs")
_CHANNEL = re.compile(r"(.+)_000[1-9]")
"""How nnU-Net names the second channel of a case and those after it."""

_IMAGE_FOLDERS = ("images", "image", "imgs", "imagesTs", "imagesTr")


def find_images(inputs: Iterable[Path]) -> list[Path]:
    """Image files among files and folders; masks are skipped with one line.

    A file that is named itself and only looks like a mask (``tumour_label.png``) is an image, unless the image that it
    would be the mask of is among the inputs.

    Raises
    ------
    InputError
        An input that does not exist, is no image or has an unusable header; two images of one stem; none at all.
    """
    found: list[Path] = []
    masks: list[Path] = []
    named: list[Path] = []
    problems: list[Problem] = []
    for path in inputs:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.is_file() and is_image_name(file))
            if not files:
                hint = subfolder_hint(path, _IMAGE_FOLDERS)
                problems += InputError(path, f"holds no image (PNG, JPEG, BMP or TIFF){hint}").problems
        elif path.exists():
            files = []
            named.append(path)
        else:
            problems += InputError(path, "no such file or folder").problems
            continue
        for file in files:
            (masks if is_mask_name(file) else found).append(file)
    stems = {image_stem(file) for file in (*found, *named)}
    for file in named:
        (masks if is_mask_beside(file, stems) else found).append(file)
    if masks:
        more = f" and {len(masks) - 1} more" if len(masks) > 1 else ""
        log.info("mask files among the inputs are skipped: %s%s", masks[0].name, more)
    by_stem: dict[str, Path] = {}
    found = list(dict.fromkeys(found))  # a file named twice is one image
    for file in found:
        first = by_stem.setdefault(image_stem(file), file)
        if first != file:
            problems += InputError(file, f"has the same stem as {first}, so their results would overwrite").problems
        if fault := _name_fault(file, found):
            problems.append(Problem(str(file), fault))
            continue
        try:
            read_header(file)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError.of(problems)
    if not found:
        raise InputError(", ".join(map(str, inputs)), "no image to segment")
    return found


def _name_fault(file: Path, others: Sequence[Path]) -> str:
    """Why results cannot carry the image's name; empty if they can."""
    if not is_text(file.name):
        return "has a name that is not UTF-8 text; rename it"
    channel = _CHANNEL.fullmatch(file.stem) if file.parent.name in _CASE_FOLDERS else None
    if channel and file.with_stem(f"{channel[1]}_0000") in others:
        return f"is one channel of {channel[1]}; images of several files can be trained on, not segmented: merge them"
    return ""
