"""A data set as a list: a folder with ``samples.json``, which names images and masks wherever they lie.

Rounds and simulations train on some of a pool's images, or on windows of them; the list says which, and stays when more
are annotated later.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frugalseg.atomic import write_json
from frugalseg.errors import InputError
from frugalseg.images.guard import system_reason
from frugalseg.images.layouts import ALL, Found
from frugalseg.images.samples import Dataset, Sample

LISTING = "samples.json"
FORMAT = 1


def write_listing(folder: Path, dataset: Dataset, samples: Sequence[Sample]) -> None:
    """Write a folder that :func:`frugalseg.images.open_dataset` opens as these samples.

    Parameters
    ----------
    folder
        To be made; its ``samples.json`` is replaced.
    dataset
        Says what the samples' masks mean: classes, pixel size, ignored value.
    samples
        Any of its samples, windows of them, or with other masks; names must differ.

    Raises
    ------
    ValueError
        Two samples have one name.
    """
    names = [sample.name for sample in samples]
    if len(set(names)) < len(names):
        raise ValueError("two samples of a list have one name")
    document = {
        "format": FORMAT,
        "class_names": list(dataset.class_names),
        "pixel_size_um": dataset.pixel_size_um,
        "ignore_value": dataset.ignore_value,
        "whole_objects": dataset.whole_objects,
        "semantic": None if dataset.semantic is None else [list(pair) for pair in dataset.semantic.items()],
        "object_table": {
            name: [list(pair) for pair in table.items()]
            for name, table in dataset.object_table.items()
            if name in set(names)
        },
        "samples": [_as_entry(folder, sample) for sample in samples],
    }
    write_json(folder / LISTING, document)


def listed_whole_objects(folder: Path) -> bool | None:
    """Whether a list that is there says that its labels are whole objects; None where there is none."""
    path = folder / LISTING
    return json.loads(path.read_bytes()).get("whole_objects") is True if path.is_file() else None


def _as_entry(folder: Path, sample: Sample) -> dict[str, Any]:
    return {
        "name": sample.name,
        "images": [_path_from(folder, path) for path in sample.images],
        "masks": [_path_from(folder, path) for path in sample.masks],
        "subset": sample.subset,
        "group": sample.group,
        "category": sample.category,
        "window": None if sample.window is None else list(sample.window),
    }


def _path_from(folder: Path, path: Path) -> str:
    """Relative, so that a project can be moved; whole where there is no relative path, as between drives."""
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:
        return str(path.resolve())


@dataclass
class FoundListing(Found):
    """What a list says beyond names."""

    pixel_size_um: float | None = None
    object_table: dict[str, dict[int, int]] | None = None
    whole_objects: bool = False


def find_listing(root: Path) -> FoundListing | None:
    """A folder with ``samples.json``."""
    path = root / LISTING
    if not os.path.isfile(path):
        return None
    try:
        return _parse(root, json.loads(path.read_bytes()))
    except OSError as error:
        raise InputError(path, system_reason(error)) from error
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(path, f"is not a list of samples ({reason})") from None


def _parse(root: Path, document: dict[str, Any]) -> FoundListing:
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']!r}, this version reads {FORMAT}")
    semantic, ignored = document["semantic"], document["ignore_value"]
    if ignored is not None and type(ignored) is not int:
        raise ValueError(f"ignore_value {ignored!r} is no whole number")
    found = FoundListing(
        layout="list",
        class_names=tuple(map(str, document["class_names"])),
        semantic=None if semantic is None else {int(value): int(index) for value, index in semantic},
        ignore_value=ignored,
        pixel_size_um=document["pixel_size_um"],
        whole_objects=document.get("whole_objects") is True,
        object_table={
            name: {int(label): int(index) for label, index in pairs} for name, pairs in document["object_table"].items()
        },
    )
    for entry in document["samples"]:
        images, masks = (tuple(root / path for path in entry[part]) for part in ("images", "masks"))
        for missing in (path for path in (*images, *masks) if not path.is_file()):
            found.blame(missing, f"is named by {LISTING} and is not there")
        window = entry["window"]
        found.samples.append(
            Sample(
                name=str(entry["name"]),
                image=images[0],
                mask=None if not masks else masks[0] if len(masks) == 1 else masks,
                subset=str(entry["subset"] or ALL),
                group=entry["group"],
                category=entry["category"],
                channels=images if len(images) > 1 else (),
                window=None if window is None else (int(window[0]), int(window[1]), int(window[2]), int(window[3])),
            )
        )
    return found
