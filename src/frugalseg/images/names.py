"""File names: which files are images, which are masks, and what an image is called."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path, PurePath

IMAGE_SUFFIXES: frozenset[str] = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".bmp", ".dib", ".tif", ".tiff"})
"""Suffixes (lower case) of the files that are looked at; what is inside is decided by the content."""

MASK_ENDINGS: tuple[str, ...] = ("_cp_masks", "_masks", "_mask", "_anno", "_labels", "_label")
"""Ends of stems by which a mask lies beside its image; the longest that fits counts."""


def is_image_name(path: str | PurePath) -> bool:
    """Whether the name has the suffix of an image and is not hidden (``._x.png`` of macOS is no image)."""
    name = PurePath(path).name
    return PurePath(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".")


def is_text(name: str) -> bool:
    """Whether a file's name can be written into tables: names that are not UTF-8 cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def image_stem(path: str | PurePath) -> str:
    """Name without suffix; ``x.ome.tif`` is ``x``."""
    stem = PurePath(path).stem
    return stem[:-4] if stem.lower().endswith(".ome") and len(stem) > 4 else stem


def mask_ending(path: str | PurePath) -> str | None:
    """The ending that makes this the name of a mask (``_anno``, ``_masks``, …; capitals too), or None."""
    stem = image_stem(path).lower()
    return next((ending for ending in MASK_ENDINGS if stem.endswith(ending) and stem != ending), None)


def is_mask_name(path: str | PurePath) -> bool:
    """Whether a file's name says that it is the mask of an image beside it."""
    return mask_ending(path) is not None


def is_mask_beside(path: str | PurePath, stems: Container[str]) -> bool:
    """Whether a file's name says that it is the mask of one of the images with these stems."""
    return is_mask_name(path) and masked_stem(path) in stems


def masked_stem(path: str | PurePath) -> str:
    """Stem of the image that a mask belongs to: ``train_1_anno.bmp`` and ``train_1.png`` both give ``train_1``."""
    stem, ending = image_stem(path), mask_ending(path)
    return stem[: -len(ending)] if ending else stem


def tabled_name(text: str, known: Container[str]) -> str:
    """The name of the image that a table calls `text`, with its suffix or without; `known` are the images' names."""
    return text if text in known or not is_image_name(text) else image_stem(text)


def subfolder_hint(folder: Path, names: Sequence[str]) -> str:
    """Words that end a message of a folder without images: which of its subfolders has some, those of `names` first."""
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    known = [path.name for path in inner if path.name in names]
    found = known[:1] or [path.name for path in inner if _holds_images(path)]
    if not found:
        return ""
    more = f" (or {', '.join(found[1:4])})" if found[1:] else ""
    return f"; did you mean its subfolder {found[0]}{more}?"


def _holds_images(folder: Path) -> bool:
    try:
        return any(is_image_name(each) for each in folder.iterdir())
    except OSError:  # not ours to read, so no hint
        return False


def shown(root: Path, path: Path) -> str:
    """`path` relative to `root` where it lies below, for short messages."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
