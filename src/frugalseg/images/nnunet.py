"""nnU-Net's raw layout in two dimensions: ``imagesTr``, ``labelsTr``, ``dataset.json``."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from frugalseg.images.guard import system_reason
from frugalseg.images.layouts import Found, by_stem, list_folder
from frugalseg.images.names import image_stem
from frugalseg.images.samples import Sample

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})$")
_PARTS = (("train", "imagesTr", "labelsTr"), ("test", "imagesTs", "labelsTs"))


def find_nnunet(root: Path) -> Found | None:
    """nnU-Net raw: images with ``_0000`` behind the case's name, semantic labels named in ``dataset.json``.

    Every connected component of a label becomes an object of that class; the label ``ignore`` is not annotated.
    """
    folders = {folder.name: folder for folder in list_folder(root).folders}
    if "imagesTr" not in folders:
        return None
    found = Found("nnU-Net raw")
    _read_description(found, root / "dataset.json")
    for subset, image_name, label_name in _PARTS:
        if image_name in folders:
            _add_cases(found, subset, folders[image_name], folders.get(label_name))
    if not found.samples and not found.problems:
        found.blame(root / "imagesTr", "holds no PNG, BMP or TIFF images (NIfTI volumes cannot be read)")
    return found


def _read_description(found: Found, path: Path) -> None:
    """Classes and ignore label from dataset.json (version 1 maps value to name, version 2 name to value)."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        return found.blame(path, system_reason(error))
    except ValueError:
        return found.blame(path, "is not valid JSON")
    labels: Any = document.get("labels") if isinstance(document, dict) else None
    if not isinstance(labels, dict) or not labels:
        return found.blame(path, "has no labels")
    if all(str(key).isdigit() for key in labels):
        labels = {str(name): int(value) for value, name in labels.items()}
    values: dict[int, str] = {}
    for name, value in labels.items():
        if isinstance(value, list):
            return found.blame(path, f"label {name!r} is a region of several values, which cannot be read")
        if isinstance(value, bool) or not str(value).isdigit():
            return found.blame(path, f"label {name!r} has the value {value!r}, an integer is needed")
        if int(value) in values:
            return found.blame(path, f"labels {values[int(value)]!r} and {name!r} have the same value {value}")
        values[int(value)] = str(name)
    classes = {value: name for value, name in sorted(values.items()) if value != 0 and name != "ignore"}
    if not classes:
        return found.blame(path, "names no class besides the background")
    found.ignore_value = next((value for value, name in values.items() if name == "ignore"), None)
    found.class_names = tuple(classes.values())
    found.semantic = {value: index for index, value in enumerate(classes)}
    return None


def _add_cases(found: Found, subset: str, image_folder: Path, label_folder: Path | None) -> None:
    images = list_folder(image_folder)
    found.problems += images.problems
    cases: dict[str, list[Path]] = defaultdict(list)
    for stem, path in by_stem(images.images, found).items():
        match = _CHANNEL.match(stem)
        if match:
            cases[match["case"]].append(path)
        else:
            found.blame(path, "has no channel number (_0000) behind its name")
    masks: dict[str, Path] = {}
    if label_folder is not None:
        listing = list_folder(label_folder)
        found.problems += listing.problems
        masks = by_stem(listing.images, found)
    for case, paths in sorted(cases.items()):
        numbers = [int(image_stem(path)[-4:]) for path in sorted(paths)]
        if numbers not in ([0], [0, 1, 2]):
            listed = ", ".join(f"{number:04d}" for number in numbers)
            found.blame(paths[0], f"case {case} has the channels {listed}; only 0000, or 0000 to 0002 can be read")
            continue
        channels = tuple(sorted(paths)) if len(paths) == 3 else ()
        found.samples.append(Sample(case, sorted(paths)[0], masks.get(case), subset, channels=channels))
    for stem, mask in masks.items():
        if stem not in cases:
            found.blame(mask, f"is a mask without an image (no image named {stem}_0000)")
